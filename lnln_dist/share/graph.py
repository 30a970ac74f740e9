"""The inference path of a network as a graph without our code: torch.export, and ONNX made of it.

Inputs, B samples padded to the longest: ``ids``, ``segments`` int64 [B, T_text], ``text_valid``
bool (False on padding), ``audio``, ``vision`` float32 [B, T, D], ``audio_valid``, ``vision_valid``
bool [B, T]. What is missing is [UNK] in ``ids`` and zero in the frames. Outputs: ``sentiment`` [B]
and the model's extras. Batch and lengths are free, up to the model's longest sequences.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lnln_dist.config import MODALITIES
from lnln_dist.errors import ConfigError, UserError, install
from lnln_dist.models.shapes import InputShapes
from lnln_dist.types import Batch, Network, SequenceInput, TextInput

INPUTS = ("ids", "segments", "text_valid", "audio", "audio_valid", "vision", "vision_valid")
ONNX, TORCH = "model.onnx", "model.pt2"
TOLERANCE = 1e-4  # between a graph and the network
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


def tried(shapes: InputShapes, *, vocabulary: int) -> Iterator[tuple[Tensor, ...]]:
    """The inputs at which a graph is compared with its network."""
    for size, *shares in TRIED:
        lengths = [
            max(1, round(share * shapes.length(m)))
            for share, m in zip(shares, MODALITIES, strict=True)
        ]
        yield probe(shapes, size, lengths, vocabulary=vocabulary)


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


def difference(
    network: nn.Module,
    extras: Sequence[str],
    graph: Callable[..., tuple[Tensor, ...]],
    inputs: tuple[Tensor, ...],
) -> float:
    """The largest difference between the outputs of a graph and of its network; nan counts."""
    with torch.no_grad():
        pairs = zip(Inference(network, extras)(*inputs), graph(*inputs), strict=True)
        return max(float((one - other).abs().max().nan_to_num(torch.inf)) for one, other in pairs)


def check(
    network: nn.Module,
    extras: Sequence[str],
    graph: Callable[..., tuple[Tensor, ...]],
    shapes: InputShapes,
    *,
    name: str,
    vocabulary: int,
) -> float:
    """The largest difference of a written graph from its network at ``TRIED``.

    Raises:
        ConfigError: it is above ``TOLERANCE``.
    """
    worst = max(
        difference(network, extras, graph, inputs)
        for inputs in tried(shapes, vocabulary=vocabulary)
    )
    if not worst <= TOLERANCE:
        raise ConfigError(
            f"model {name}: its graph gives other predictions (by {worst:.1g}, allowed is "
            f"{TOLERANCE:g}): export without it"
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
