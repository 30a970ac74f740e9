"""The inference path of a network as a graph without our code: torch.export, and ONNX made of it.

Inputs, B samples padded to the longest with the tokenizer's [PAD] and zeros: ``ids``, ``segments``
int64 [B, T_text], ``text_valid`` bool (False on padding), ``audio``, ``vision`` float32 [B, T, D],
``audio_valid``, ``vision_valid`` bool [B, T]. What is missing is [UNK] in ``ids`` and zero in the
frames. Outputs: ``sentiment`` [B], or [B, C] the probabilities of classes, and the model's extras.
Batch and lengths are free, up to the model's longest sequences.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.utils.rnn import pad_sequence

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.tokens import TextTokenizer
from lnln_dist.errors import ConfigError, UserError, install
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.models.shapes import InputShapes
from lnln_dist.share.inputs import Given
from lnln_dist.types import Batch, Network, SequenceInput, TextInput

INPUTS = ("ids", "segments", "text_valid", "audio", "audio_valid", "vision", "vision_valid")
ONNX, TORCH = "model.onnx", "model.pt2"
TOLERANCE = 1e-4  # between a graph and ``Model.predict``
# Batch, and places of text, audio and vision as shares of the longest, at which a graph is tried.
TRIED = ((1, 1.0, 1.0, 1.0), (2, 0.4, 0.7, 0.2), (5, 0.2, 0.1, 0.9))


class Inference(nn.Module):
    """``predict`` of a network on tensors."""

    def __init__(self, network: nn.Module, extras: Sequence[str]) -> None:
        super().__init__()
        self.network, self.extras = network, tuple(extras)

    def forward(
        self,
        ids: Tensor,
        segments: Tensor,
        text_valid: Tensor,
        audio: Tensor,
        audio_valid: Tensor,
        vision: Tensor,
        vision_valid: Tensor,
    ) -> tuple[Tensor, ...]:
        """Sentiment and extras, [B] each."""
        # ``predict`` reads no label, weight, row or rate.
        zero_B = torch.zeros_like(ids[:, 0], dtype=audio.dtype)
        batch = Batch(
            text=TextInput(ids, ids, segments, text_valid, text_valid, zero_B),
            audio=SequenceInput(audio, audio_valid, audio_valid, zero_B),
            vision=SequenceInput(vision, vision_valid, vision_valid, zero_B),
            label_B=zero_B,
            weight_B=zero_B,
            row_B=ids[:, 0],
        )
        sentiment, extras = cast(Network, self.network).predict(batch)
        return sentiment, *(extras[name] for name in self.extras)


def probe(
    shapes: InputShapes, size: int, lengths: Sequence[int], *, vocabulary: int
) -> tuple[Tensor, ...]:
    """Random samples of the inputs, the first as long as the batch, the others shorter.

    Args:
        shapes: of the model.
        size: samples.
        lengths: places of text, audio and vision.
        vocabulary: token ids the encoder knows.
    """
    chance = torch.Generator().manual_seed(hash((size, *lengths)) % 2**32)

    def valid(places: int) -> Tensor:
        length_B = torch.randint(1, places + 1, (size,), generator=chance)
        length_B[0] = places
        return torch.arange(places)[None] < length_B[:, None]

    masks = [valid(places) for places in lengths]
    ids = torch.randint(vocabulary, (size, lengths[0]), generator=chance) * masks[0]
    widths = (shapes.audio_width, shapes.vision_width)
    frames = [
        torch.randn(*mask.shape, width, generator=chance) * mask[..., None]
        for mask, width in zip(masks[1:], widths, strict=True)
    ]
    return ids, torch.zeros_like(ids), masks[0], frames[0], masks[1], frames[1], masks[2]


def tried(shapes: InputShapes, tokenizer: TextTokenizer) -> Iterator[Given]:
    """The samples at which a graph is held against ``predict``.

    The first is whole and as long as the batch; each of the next ones lacks a modality in turn.
    """
    chance = np.random.default_rng(0)
    words = np.array(sorted(tokenizer.backend.get_vocab()))
    widths = {"audio": shapes.audio_width, "vision": shapes.vision_width}
    for size, *shares in TRIED:
        content: dict[str, list[Any]] = {}
        for share, m in zip(shares, MODALITIES, strict=True):
            longest = max(1, round(share * shapes.length(m)))
            lengths = [longest, *chance.integers(1, longest + 1, size - 1)]
            content[m] = [
                " ".join(chance.choice(words, n))
                if m == "text"
                else chance.standard_normal((n, widths[m]))
                for n in lengths
            ]
        for row in range(1, size):
            content[MODALITIES[(row - 1) % len(MODALITIES)]][row] = None
        yield Given(**content, shapes=shapes, tokenizer=tokenizer)


def tensors(given: Given, *, pad_id: int) -> tuple[Tensor, ...]:
    """Samples as the inputs of a graph, by this module's description of them alone."""
    rows = range(len(given))

    def padded(values: Callable[[int], Any], kind: torch.dtype, fill: int = 0) -> Tensor:
        return pad_sequence(
            [torch.as_tensor(values(row)).to(kind) for row in rows], True, padding_value=fill
        )

    def valid(modality: Modality) -> Tensor:
        return padded(lambda row: np.ones(given.lengths[modality][row]), torch.bool)

    return (
        padded(given.tokens, torch.int64, pad_id),
        padded(given.segments, torch.int64),
        valid("text"),
        padded(lambda row: given.frames("audio", row), torch.float32),
        valid("audio"),
        padded(lambda row: given.frames("vision", row), torch.float32),
        valid("vision"),
    )


def trace(
    network: nn.Module, shapes: InputShapes, extras: Sequence[str], *, name: str, vocabulary: int
) -> ExportedProgram:
    """The inference path as a graph with free batch and lengths.

    Args:
        network: on the CPU, in evaluation mode.
        shapes: widths and longest sequences.
        extras: what it reports beside the sentiment, by the names and in the order of its spec.
        name: of the model, for messages.
        vocabulary: token ids the encoder knows.

    Raises:
        ConfigError: its code cannot be turned into a graph.
    """
    if any(isinstance(module, nn.RNNBase) for module in network.modules()):
        raise ConfigError(
            f"model {name} has recurrent layers, whose graph holds for one length alone: export "
            "without --onnx and --torch-export"
        )
    batch = Dim("batch")
    # One place at most (features pooled over a clip) leaves nothing to vary.
    text, audio, vision = (
        {0: batch} | ({1: Dim(m, max=longest)} if (longest := shapes.length(m)) > 1 else {})
        for m in MODALITIES
    )
    example = probe(
        shapes, 3, [min(7, shapes.length(m)) for m in MODALITIES], vocabulary=vocabulary
    )
    with _as_error("a graph", name), torch.no_grad():
        return torch.export.export(
            Inference(network, extras).eval(),
            example,
            dynamic_shapes=(text, text, text, audio, audio, vision, vision),
        )


def write_torch(program: ExportedProgram, path: Path) -> None:
    """Writes a graph for ``torch.export.load(path).module()``."""
    torch.export.save(program, path)


def write_onnx(program: ExportedProgram, path: Path, *, extras: Sequence[str], name: str) -> None:
    """Writes a graph as ONNX.

    Raises:
        UserError: the packages for it are missing.
        ConfigError: a part of the graph has no counterpart there.
    """
    try:
        import onnxruntime  # noqa: F401 asked for here, before minutes are spent
        import onnxscript  # noqa: F401
    except ImportError as err:
        raise UserError(f"--onnx needs {err.name}: {install('onnx')}") from err
    with _as_error("ONNX", name), torch.no_grad():
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(INPUTS),
            output_names=["sentiment", *extras],
            verbose=False,
        )
        assert made is not None
        made.save(path)


def run_torch(path: Path) -> Callable[..., tuple[Tensor, ...]]:
    """A written graph as a function of the inputs."""
    call: Callable[..., tuple[Tensor, ...]] = torch.export.load(path).module()
    return call


def run_onnx(path: Path) -> Callable[..., tuple[Tensor, ...]]:
    """A written ONNX graph as a function of the inputs, run by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        feed = {name: x.numpy() for name, x in zip(INPUTS, inputs, strict=True)}
        return tuple(torch.from_numpy(y) for y in session.run(None, feed))

    return call


def difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference between outputs; nan counts."""
    return max(
        float((one - other).abs().max().nan_to_num(torch.inf))
        for one, other in zip(expected, found, strict=True)
    )


def check(
    graph: Callable[..., tuple[Tensor, ...]],
    extras: Sequence[str],
    predicted: Callable[[Given], Predictions],
    shapes: InputShapes,
    *,
    name: str,
    tokenizer: TextTokenizer,
) -> float:
    """The largest difference of a written graph from what the model predicts of ``tried``.

    Args:
        graph: as a function of the inputs.
        extras: as ``trace``.
        predicted: what ``Model.predict`` says, before classes are decided on.
        shapes: of the model.
        name: of the model, for messages.
        tokenizer: of the model.

    Raises:
        ConfigError: it is above ``TOLERANCE``.
    """
    worst = 0.0
    for given in tried(shapes, tokenizer):
        told = predicted(given)
        expected = [torch.as_tensor(x) for x in (told.sentiment, *map(told.extras.get, extras))]
        inputs = tensors(given, pad_id=tokenizer.info.pad_id)
        with torch.no_grad():
            worst = max(worst, difference(expected, graph(*inputs)))
    if not worst <= TOLERANCE:
        raise ConfigError(
            f"model {name}: its graph gives other predictions than the model (by {worst:.1g}, "
            f"allowed is {TOLERANCE:g}): export without it"
        )
    return worst


@contextlib.contextmanager
def _as_error(what: str, name: str) -> Iterator[None]:
    """Errors of the exporters as one line; without what they say of packages not at hand."""
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as err:  # whatever a network does that has no graph
        why = (str(err).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"model {name} cannot be turned into {what} ({type(err).__name__}: {why:.150}): export "
            "without it"
        ) from err
    finally:
        chatter.setLevel(level)
