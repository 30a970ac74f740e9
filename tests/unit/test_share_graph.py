"""The inference path as a graph: the network's numbers at any batch and length."""

from dataclasses import fields, replace
from pathlib import Path

import networks
import pytest
import torch
from builders import SHAPES, VOCABULARY
from torch import nn

from lnln_dist.config import MODALITIES
from lnln_dist.errors import ConfigError
from lnln_dist.share import graph
from lnln_dist.specs.registry import MODELS, find_spec

# Batch, and places of text, audio and vision.
SIZES = ((1, 1, 1, 1), (1, 12, 20, 16), (4, 5, 20, 1))


def small(name: str, **changes: object) -> tuple[nn.Module, tuple[str, ...]]:
    """As shallow as the settings allow: the time is that of the graph's size."""
    depths = {f.name for f in fields(find_spec(name).config) if f.name.endswith("depth")}
    shallow = {depth: 2 if depth == "hyper_depth" else 1 for depth in depths}
    network = networks.small_network(name, **{**shallow, **changes}).float()
    return network, tuple(find_spec(name).extras)


def trace(network: nn.Module, extras: tuple[str, ...]) -> torch.export.ExportedProgram:
    return graph.trace(network, SHAPES, extras, name="small", vocabulary=VOCABULARY)


OFFICIAL = {"reversal": "proxy", "discriminator_input": "corrected", "mask_padding": False}
CASES = [*((name, {}) for name in MODELS if name in networks.SMALL), ("lnln", OFFICIAL)]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_every_model_is_a_graph_for_all_sizes(
    name: str, changes: dict[str, object], tmp_path: Path
) -> None:
    network, extras = small(name, **changes)
    if any(isinstance(module, nn.RNNBase) for module in network.modules()):
        with pytest.raises(ConfigError, match="recurrent layers"):
            trace(network, extras)
        return
    graph.write_torch(trace(network, extras), tmp_path / graph.TORCH)
    call = graph.run_torch(tmp_path / graph.TORCH)
    for size, *lengths in SIZES:
        inputs = graph.probe(SHAPES, size, lengths, vocabulary=VOCABULARY)
        assert graph.difference(network, extras, call, inputs) <= 1e-5


def test_features_of_one_frame_are_a_graph() -> None:
    shapes = replace(SHAPES, audio_length=1, vision_length=1)
    network, extras = small("late_fusion")
    program = graph.trace(network, shapes, extras, name="small", vocabulary=VOCABULARY)
    inputs = graph.probe(shapes, 4, (5, 1, 1), vocabulary=VOCABULARY)
    assert graph.difference(network, extras, program.module(), inputs) <= 1e-5


@pytest.mark.parametrize("name", ["lnln"])
def test_onnx_gives_the_same(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    network, extras = small(name)
    path = tmp_path / graph.ONNX
    graph.write_onnx(trace(network, extras), path, extras=extras, name=name)
    call = graph.run_onnx(path)
    for size, *lengths in SIZES:
        inputs = graph.probe(SHAPES, size, lengths, vocabulary=VOCABULARY)
        assert graph.difference(network, extras, call, inputs) <= graph.TOLERANCE


class Branching(nn.Module):
    """Looks at contents, which a graph cannot."""

    def predict(self, batch):
        total = batch.audio.frames_BTD.sum()
        if total > 0:
            total = -total
        return total.expand(len(batch.label_B)), {}


def test_a_network_without_a_graph_is_one_line() -> None:
    with pytest.raises(ConfigError, match="model small cannot be turned into a graph") as caught:
        trace(Branching(), ())
    assert "\n" not in str(caught.value)


def test_a_graph_that_differs_is_refused() -> None:
    network, extras = small("text")

    def wrong(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x + 1e-3 for x in graph.Inference(network, extras)(*inputs))

    with pytest.raises(ConfigError, match="other predictions"):
        graph.check(network, extras, wrong, SHAPES, name="text", vocabulary=VOCABULARY)


def test_probes_are_padded_samples_of_the_size_asked_for() -> None:
    for ids, segments, text, audio, audio_valid, vision, vision_valid in graph.tried(
        SHAPES, vocabulary=VOCABULARY
    ):
        assert ids.shape == segments.shape == text.shape
        assert ids.max() < VOCABULARY
        for frames, valid in ((audio, audio_valid), (vision, vision_valid)):
            assert valid.any(1).all()
            assert not frames[~valid].any()
    lengths = [SHAPES.length(m) for m in MODALITIES]
    assert [x.shape[1] for x in (text, audio_valid, vision_valid)] <= lengths
