"""A corpus in the MMSA format with real words, and with known shares of the label per modality.

Generative model, per utterance (seeded; sample i of a split is the same for any corpus size):

1. A common mood c and one part per modality: part_m = sqrt(0.3) c + sqrt(0.7) e_m, all N(0, 1). The
   parts correlate with 0.3, so audio and vision say something about the text that is missing.
2. The text is a chain of clauses from ``grammar`` around 1.5 part_text; from then on the text part
   is what the words really say: ``grammar.sentiment`` / 1.55, again of about unit variance.
3. Audio and vision: four channels of AR(1) noise, whose memory is an eighth of the mean length;
   channel 0 has the modality's part added in *every* frame. A fixed random matrix with orthonormal
   rows mixes the channels into the D features, and white noise (0.3) comes on top. The mean of a
   typical sequence tells the part with an error of about a half, a few frames tell it less well.
4. label = 0.65 text + 0.32 audio + 0.26 vision + 0.3625 noise (unit variance), times half the
   label range's upper end, clipped to the range and rounded to the data set's grid.
5. Lengths are log-normal around a median well below the cut and share the utterance's pace.

What this means for the label's variance (``SHARES``, weight times correlation; they add up):
text 0.536, audio 0.190, vision 0.143, noise 0.131. Correlations of a part alone with the label
(``CORRELATIONS``): text 0.824, audio 0.593, vision 0.551; of the best weighting of all 0.932
(measured on 30,000 samples: 0.825, 0.579, 0.541, 0.930). What a linear regression on 1,200 demo
utterances reaches is less, since it has to find the parts: counts of words about 0.72, mean audio
frame 0.49, mean vision frame 0.46, all three 0.85.

All shapes speak English, ``sims`` too: only its sizes and labels are those of CH-SIMS. There is no
``text_bert``: ``prepare --tokenizer`` makes the token ids from ``raw_text``. Features are float32
(the published files have float64): MOSEI at full size is 5 GB. The same seed gives the same bytes
under the same numpy version and processor type.
"""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES
from lnln_dist.data import grammar
from lnln_dist.data.schema import SPLITS
from lnln_dist.errors import DataError
from lnln_dist.files import atomic_file

WEIGHTS = {"text": 0.65, "audio": 0.32, "vision": 0.26}
COMMON = 0.3
CORRELATIONS = {m: WEIGHTS[m] + COMMON * (sum(WEIGHTS.values()) - WEIGHTS[m]) for m in MODALITIES}
SHARES = {m: WEIGHTS[m] * CORRELATIONS[m] for m in MODALITIES}
NOISE = (1 - sum(SHARES.values())) ** 0.5

_CLIPS = 12  # utterances of one video
_TEXT_TARGET, _TEXT_UNIT = 1.5, 1.55  # strengths of the lexicon per unit of the text part
_CHANNELS = 4
_WHITE = np.float32(0.3)
_MEMORY = 1 / 8  # of the AR(1) noise, in mean lengths
_PACE = 0.8  # how much of the spread of log lengths the modalities of an utterance share
_STREAMS = ("latent", "lengths", "words", "channels", "white", "mixing")


class Shape(NamedTuple):
    """Sizes of a corpus."""

    samples: tuple[int, int, int]  # train, valid, test
    cuts: dict[str, int]  # longest sequences: text in tokens with [CLS] and [SEP], frames
    medians: dict[str, float]  # median lengths, text in words
    widths: dict[str, int]  # features of a frame
    spread: float  # standard deviation of log lengths
    high: float  # labels lie in [-high, high]
    steps: int  # label grid: this many steps per unit


SHAPES = {
    "demo": Shape(
        samples=(1200, 240, 400),
        cuts={"text": 24, "audio": 40, "vision": 40},
        medians={"text": 20, "audio": 16, "vision": 16},
        widths={"audio": 8, "vision": 12},
        spread=0.35,
        high=3.0,
        steps=5,
    ),
    "mosi": Shape(
        samples=(1284, 229, 686),
        cuts={"text": 50, "audio": 375, "vision": 500},
        medians={"text": 16, "audio": 75, "vision": 100},
        widths={"audio": 5, "vision": 20},
        spread=0.5,
        high=3.0,
        steps=5,
    ),
    "mosei": Shape(
        samples=(16326, 1871, 4659),
        cuts={"text": 50, "audio": 500, "vision": 500},
        medians={"text": 22, "audio": 100, "vision": 100},
        widths={"audio": 74, "vision": 35},
        spread=0.5,
        high=3.0,
        steps=3,
    ),
    "sims": Shape(
        samples=(1368, 456, 457),
        cuts={"text": 39, "audio": 400, "vision": 55},
        medians={"text": 16, "audio": 80, "vision": 11},
        widths={"audio": 33, "vision": 709},
        spread=0.5,
        high=1.0,
        steps=5,
    ),
}


def synthesize(
    target: Path,
    *,
    dataset: str = "demo",
    samples: tuple[int, int, int] | None = None,
    scale: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes a synthetic feature file; the model behind it is in the module's docstring.

    Needs the memory of the features and of the largest of their arrays once more.

    Args:
        target: pickle to write, whole or not at all.
        dataset: one of ``SHAPES``: sizes, label range and label grid.
        samples: utterances of train, valid and test; None: the shape's own.
        scale: multiplies the shape's own numbers instead (each split keeps at least one).
        seed: of everything random, in [0, 2**63).
        overwrite: replace an existing file.

    Returns:
        What was written: dataset, seed, samples and bytes.

    Raises:
        DataError: an unknown data set, or impossible numbers.
        UserError: ``target`` exists or cannot be written.
    """
    if dataset not in SHAPES:
        raise DataError(f"--dataset {dataset}: choose one of {', '.join(SHAPES)}")
    if not 0 <= seed < 2**63:
        raise DataError(f"--seed {seed}: choose a whole number from 0 to 2**63 - 1")
    shape = SHAPES[dataset]
    sizes = _sizes(shape, samples, scale)
    with atomic_file(target, overwrite=overwrite) as pending:
        content: dict[str, Any] = {
            name: _split(shape, name, size=size, seed=seed)
            for name, size in zip(SPLITS, sizes, strict=True)
        }
        content["config"] = _description(dataset, shape, seed)
        with pending.open("wb") as file:
            pickler = pickle.Pickler(file, protocol=4)
            pickler.fast = True  # keeps no copy of what is written
            pickler.dump(content)
        size = pending.stat().st_size
    return {"dataset": dataset, "seed": seed, "samples": list(sizes), "bytes": size}


def _sizes(
    shape: Shape, samples: tuple[int, int, int] | None, scale: float | None
) -> tuple[int, int, int]:
    """Utterances per split."""
    if samples is not None and scale is not None:
        raise DataError("--samples and --scale both say how large the corpus is: give one of them")
    if samples is not None:
        if len(samples) != len(SPLITS) or min(samples) < 1:
            given = " ".join(map(str, samples))
            raise DataError(f"--samples {given}: give three numbers >= 1 for train, valid and test")
        return samples
    factor = 1.0 if scale is None else scale
    if not 0 < factor < float("inf"):
        raise DataError(f"--scale {factor}: choose a number above 0")
    train, valid, test = (max(1, round(factor * n)) for n in shape.samples)
    return train, valid, test


def _generator(seed: int, split: str, stream: str, modality: str = "text") -> np.random.Generator:
    """An independent stream of random numbers for each purpose."""
    place = (SPLITS.index(split), _STREAMS.index(stream), MODALITIES.index(modality))
    return np.random.default_rng((seed, *place))


def _split(shape: Shape, split: str, *, size: int, seed: int) -> dict[str, Any]:
    """The fields of one split, with ``size`` rows each."""
    latent = _generator(seed, split, "latent").standard_normal((size, 5))
    common, noise = latent[:, 0], latent[:, 4]
    parts = {
        m: COMMON**0.5 * common + (1 - COMMON) ** 0.5 * latent[:, i + 1]
        for i, m in enumerate(MODALITIES)
    }
    lengths = _lengths(_generator(seed, split, "lengths"), shape, size)
    words = _generator(seed, split, "words")
    sentences = [
        grammar.utterance(words, target=_TEXT_TARGET * part, words=int(most))
        for part, most in zip(parts["text"], lengths["text"], strict=True)
    ]
    parts["text"] = np.array([grammar.sentiment(s) for s in sentences]) / _TEXT_UNIT
    total = sum(WEIGHTS[m] * parts[m] for m in MODALITIES) + NOISE * noise
    label = _on_grid(total, shape)
    frames = {
        m: _frames(parts[m], lengths[m], shape, split=split, modality=m, seed=seed)
        for m in ("audio", "vision")
    }
    return {
        "raw_text": [" ".join(s) for s in sentences],
        "id": [f"{split}{i // _CLIPS:05d}$_${i % _CLIPS}" for i in range(size)],
        **frames,
        "audio_lengths": lengths["audio"],
        "vision_lengths": lengths["vision"],
        **annotated(label),
        "regression_labels": label,
        "regression_labels_T": _on_grid(parts["text"], shape),
        "regression_labels_A": _on_grid(parts["audio"], shape),
        "regression_labels_V": _on_grid(parts["vision"], shape),
    }


def annotated(label_N: NDArray[np.float32]) -> dict[str, Any]:
    """The fields of MMSA files that say the sign of the label once more."""
    sign_N = np.sign(label_N).astype(int)
    return {
        "annotations": [("Neutral", "Positive", "Negative")[sign] for sign in sign_N],
        "classification_labels": (sign_N + 1).astype(np.float32),
    }


def _on_grid(value: NDArray[np.float64], shape: Shape) -> NDArray[np.float32]:
    """Unit-variance sentiment -> labels of the shape's range and grid."""
    clipped = np.clip(value * (shape.high / 2), -shape.high, shape.high)
    # Adding zero turns -0 into 0.
    return ((np.rint(clipped * shape.steps) + 0.0) / shape.steps).astype(np.float32)


def _lengths(rng: np.random.Generator, shape: Shape, size: int) -> dict[str, NDArray[np.int64]]:
    """Frames of each utterance, and the most words it may have."""
    draws = rng.standard_normal((size, 1 + len(MODALITIES)))
    out: dict[str, NDArray[np.int64]] = {}
    for i, modality in enumerate(MODALITIES):
        pace = _PACE * draws[:, 0] + (1 - _PACE**2) ** 0.5 * draws[:, i + 1]
        length = np.rint(shape.medians[modality] * np.exp(shape.spread * pace)).astype(np.int64)
        low, high = 1, shape.cuts[modality]
        if modality == "text":
            low, high = grammar.LONGEST_CLAUSE, high - 2
        out[modality] = np.clip(length, low, high)
    return out


def _frames(
    part: NDArray[np.float64],
    lengths: NDArray[np.int64],
    shape: Shape,
    *,
    split: str,
    modality: str,
    seed: int,
) -> NDArray[np.float32]:
    """Frames [n, T, D] that carry ``part`` in each of the valid places; zero behind them."""
    width, cut = shape.widths[modality], shape.cuts[modality]
    mixing = _mixing(seed, modality, width)
    mean = shape.medians[modality] * np.exp(shape.spread**2 / 2)
    memory = np.float32(np.exp(-1 / (_MEMORY * mean)))
    channels_rng = _generator(seed, split, "channels", modality)
    white_rng = _generator(seed, split, "white", modality)
    out = np.zeros((len(part), cut, width), dtype=np.float32)
    for row, length in enumerate(lengths):
        channels = channels_rng.standard_normal((length, _CHANNELS), dtype=np.float32)
        channels[1:] *= np.sqrt(1 - memory**2)
        for t in range(1, length):
            channels[t] += memory * channels[t - 1]
        channels[:, 0] += np.float32(part[row])
        white = white_rng.standard_normal((length, width), dtype=np.float32)
        # Not a library's matrix product: its last bits may depend on the number of threads.
        out[row, :length] = np.einsum("tk,kd->td", channels, mixing) + _WHITE * white
    return out


def _mixing(seed: int, modality: str, width: int) -> NDArray[np.float32]:
    """Orthonormal rows [channels, D], scaled so that features have about unit variance."""
    draws = _generator(seed, "train", "mixing", modality).standard_normal((width, _CHANNELS))
    rows = np.linalg.qr(draws).Q.T * (width / _CHANNELS) ** 0.5
    # Rounded: the last bits are a linear algebra library's own.
    rounded: NDArray[np.float32] = np.round(rows, 4).astype(np.float32)
    return rounded


def _description(dataset: str, shape: Shape, seed: int) -> dict[str, Any]:
    """The top-level ``config`` of the file: plain values only."""
    return {
        "generator": "lnln_dist synthesize",
        "dataset": dataset,
        "seed": seed,
        "weights": dict(WEIGHTS),
        "noise": NOISE,
        "common": COMMON,
        "shares": dict(SHARES),
        "correlations": dict(CORRELATIONS),
        "label_range": [-shape.high, shape.high],
        "label_step": 1 / shape.steps,
        "padded_lengths": dict(shape.cuts),
        "channels": _CHANNELS,
    }
