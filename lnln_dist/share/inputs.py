"""Texts, arrays and frames as a user has them in memory, and what a network says of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import MARGIN, Noise
from lnln_dist.data.schema import FRAMES, FrameModality
from lnln_dist.data.tokens import TextTokenizer
from lnln_dist.errors import DataError
from lnln_dist.evaluate.predict import Predictions, predict
from lnln_dist.models.shapes import InputShapes
from lnln_dist.runs import Run
from lnln_dist.runtime import Runtime

if TYPE_CHECKING:
    from lnln_dist.data.shards import Split


class Given:
    """Samples in memory, with what is asked of a ``shards.Split``.

    A modality that a sample lacks is one place that was never there: an unknown word between
    [CLS] and [SEP], or a frame of zeros. That is what the networks know of a modality that is
    wholly gone.

    Args:
        text: a sentence or N of them; None or blank, or such among them, where there is none.
        audio: frames [T, D], N such arrays of any lengths, or [N, T, D] padded with zeros.
        vision: as ``audio``.
        shapes: widths and longest sequences of the model; what is longer loses its end.
        tokenizer: of the model; asked for only if there is text.

    Raises:
        DataError: numbers of samples or widths that do not fit, no samples, or frames that are
            not finite numbers.
    """

    def __init__(
        self, text: Any, audio: Any, vision: Any, *, shapes: InputShapes, tokenizer: TextTokenizer
    ) -> None:
        _check_indexes({"text": text, "audio": audio, "vision": vision})
        given = {"text": _sentences(text), "audio": _clips(audio), "vision": _clips(vision)}
        counts = {m: len(values) for m, values in given.items() if values is not None}
        if len(set(counts.values())) != 1:
            told = ", ".join(f"{n} of {m}" for m, n in counts.items())
            raise DataError(
                f"samples: {told}: give as many of each modality, None where one is missing"
                if told
                else "nothing to predict: give text, audio or vision"
            )
        (size,) = set(counts.values())
        if not size:
            raise DataError("nothing to predict: the lists are empty")
        self.ids = [str(row) for row in range(size)]
        self.labels = np.full(size, np.nan, np.float32)
        rows: dict[str, list[Any]] = {m: v or [None] * size for m, v in given.items()}
        self.cut: dict[Modality, int] = dict.fromkeys(MODALITIES, 0)
        self._tokens = self._tokenised(rows["text"], shapes, tokenizer)
        self._frames = {m: self._checked(rows[m], m, shapes) for m in FRAMES}
        self.lengths: Mapping[Modality, NDArray[np.int64]] = {
            "text": np.array([len(ids) for ids, _ in self._tokens]),
            **{m: np.array([len(x) for x in self._frames[m]]) for m in FRAMES},
        }
        self._has = {m: [row is not None for row in rows[m]] for m in MODALITIES}

    def __len__(self) -> int:
        return len(self.ids)

    def tokens(self, row: int) -> NDArray[np.integer]:
        """See ``shards.Split``."""
        return self._tokens[row][0]

    def segments(self, row: int) -> NDArray[np.integer]:
        """See ``shards.Split``."""
        return self._tokens[row][1]

    def frames(self, modality: Literal["audio", "vision"], row: int) -> NDArray[np.float32]:
        """See ``shards.Split``."""
        return self._frames[modality][row]

    def seen(self, modality: Modality, row: int) -> NDArray[np.bool_]:
        """See ``shards.Split``."""
        length, margin = int(self.lengths[modality][row]), MARGIN[modality]
        there_T: NDArray[np.bool_] = np.full(length, self._has[modality][row])
        there_T[:margin] = there_T[length - margin :] = True
        return there_T

    def _tokenised(
        self, sentences: Sequence[str | None], shapes: InputShapes, tokenizer: TextTokenizer
    ) -> list[tuple[NDArray[np.integer], NDArray[np.integer]]]:
        encoded = tokenizer.encode([s or "" for s in sentences], limit=shapes.text_length)
        self.cut["text"] = encoded.cut
        ends = np.cumsum(encoded.lengths_N)[:-1]
        return list(
            zip(np.split(encoded.ids_S, ends), np.split(encoded.segments_S, ends), strict=True)
        )

    def _checked(
        self, clips: Sequence[Any], modality: FrameModality, shapes: InputShapes
    ) -> list[NDArray[np.float32]]:
        width = shapes.audio_width if modality == "audio" else shapes.vision_width
        limit, found = shapes.length(modality), []
        for row, clip in enumerate(clips):
            if clip is None:
                found.append(np.zeros((1, width), np.float32))
                continue
            frames_TD = _numbers(clip, f"{modality} of sample {row}")
            if frames_TD.ndim != 2 or frames_TD.shape[1] != width or not len(frames_TD):
                raise DataError(
                    f"{modality} of sample {row} has the shape {frames_TD.shape}, the model takes "
                    f"[frames, {width}]: extract the features as for the training data"
                )
            if not np.isfinite(frames_TD).all():
                raise DataError(
                    f"{modality} of sample {row} holds numbers that are not finite: set frames "
                    "that are missing to zero"
                )
            self.cut[modality] += len(frames_TD) > limit
            found.append(np.ascontiguousarray(frames_TD[:limit]))
        return found


def as_split(given: Given) -> "Split":
    """Samples in memory as a split, of which nothing but its samples is asked."""
    return cast("Split", given)


def predicted(
    network: nn.Module,
    given: Given,
    noises: Sequence[Noise],
    *,
    run: Run,
    tokenizer: TextTokenizer,
    runtime: Runtime,
    batch_size: int,
) -> list[Predictions]:
    """What a run's network says of samples under each condition (see ``evaluate.predict``)."""
    return predict(
        network,
        as_split(given),
        noises,
        runtime=runtime,
        padding=run.config.data.padding,
        padded_lengths={m: run.info.shapes.length(m) for m in MODALITIES},
        unk_id=tokenizer.info.unk_id,
        pad_id=tokenizer.info.pad_id,
        batch_size=batch_size,
        normalised=run.info.normalised,
    )


def _check_indexes(given: Mapping[str, Any]) -> None:
    """Samples are paired by their places: Series that are in different orders would be mixed up."""
    series = {m: values for m, values in given.items() if isinstance(values, pd.Series)}
    for name, values in series.items():
        first = next(iter(series))
        if not values.index.equals(series[first].index):
            raise DataError(
                f"{first} and {name} are Series with different indexes: pass "
                f"{name}.reindex({first}.index), or lists if their orders are the same"
            )


def _sentences(text: Any) -> list[str | None] | None:
    if text is None:
        return None
    if not isinstance(text, str | list | tuple | pd.Series | np.ndarray) or np.ndim(text) > 1:
        raise DataError(f"text is a {type(text).__name__}: give a sentence, or a list of them")
    found: list[str | None] = []
    for row, sentence in enumerate([text] if isinstance(text, str) else list(text)):
        missing = sentence is None or sentence is pd.NA or sentence != sentence  # nan
        if not missing and not isinstance(sentence, str):
            raise DataError(f"text of sample {row} is a {type(sentence).__name__}, not a string")
        found.append(None if missing or not sentence.strip() else sentence)
    return found


def _clips(values: Any) -> list[Any] | None:
    """One item per sample; a lone clip is a table of numbers."""
    if values is None:
        return None
    if isinstance(values, pd.DataFrame) or (isinstance(values, np.ndarray) and values.ndim == 2):
        return [values]
    if isinstance(values, np.ndarray) and values.ndim == 3:
        return [_unpadded(clip_TD) for clip_TD in values]
    if isinstance(values, list | tuple | pd.Series | np.ndarray):
        return list(values)
    raise DataError(
        f"frames are a {type(values).__name__}: give an array [frames, features], or a list of them"
    )


def _unpadded(clip_TD: NDArray[Any]) -> NDArray[Any]:
    """Without frames of zeros at the end, but for one."""
    used = np.flatnonzero(clip_TD.any(axis=1))
    return clip_TD[: used[-1] + 1 if len(used) else 1]


def _numbers(clip: Any, where: str) -> NDArray[np.float32]:
    try:
        return np.asarray(clip, np.float32)
    except (TypeError, ValueError) as err:
        raise DataError(f"{where} is no array of numbers ({err})") from err
