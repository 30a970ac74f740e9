"""The inference path as a graph: the network's numbers at any batch and length."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import networks
import pytest
import torch
from builders import SHAPES, VOCABULARY
from torch import nn

from lnln_dist.config import MODALITIES
from lnln_dist.data.noise import MARGIN, CleanNoise
from lnln_dist.data.tokens import corpus_tokenizer
from lnln_dist.errors import ConfigError
from lnln_dist.evaluate.predict import Predictions, predict
from lnln_dist.runtime import Runtime
from lnln_dist.share import graph
from lnln_dist.share.inputs import Given, as_split
from lnln_dist.specs.registry import MODELS, find_spec
from lnln_dist.types import Prediction

# Batch, and places of text, audio and vision.
Graph = Callable[..., tuple[torch.Tensor, ...]]
WORDS = corpus_tokenizer(["a bad cab"])
SIZES = ((1, 1, 1, 1), (1, 12, 20, 16), (4, 5, 20, 1))


def small(name: str, **changes: object) -> tuple[nn.Module, tuple[str, ...]]:
    """As shallow as the settings allow: the time is that of the graph's size."""
    depths = {f.name for f in fields(find_spec(name).config) if f.name.endswith("depth")}
    shallow = {depth: 2 if depth == "hyper_depth" else 1 for depth in depths}
    network = networks.small_network(name, **{**shallow, **changes}).float()
    return network, tuple(find_spec(name).extras)


def trace(network: nn.Module, extras: tuple[str, ...]) -> torch.export.ExportedProgram:
    return graph.trace(network, SHAPES, extras, name="small", vocabulary=VOCABULARY)


def apart(
    network: nn.Module, extras: tuple[str, ...], call: Graph, inputs: tuple[torch.Tensor, ...]
) -> float:
    with torch.no_grad():
        return graph.difference(graph.Inference(network, extras)(*inputs), call(*inputs))


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
        assert apart(network, extras, call, inputs) <= 1e-5


def test_features_of_one_frame_are_a_graph() -> None:
    shapes = replace(SHAPES, audio_length=1, vision_length=1)
    network, extras = small("late_fusion")
    program = graph.trace(network, shapes, extras, name="small", vocabulary=VOCABULARY)
    inputs = graph.probe(shapes, 4, (5, 1, 1), vocabulary=VOCABULARY)
    assert apart(network, extras, program.module(), inputs) <= 1e-5


@pytest.mark.parametrize("name", ["lnln"])
def test_onnx_gives_the_same(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    network, extras = small(name)
    path = tmp_path / graph.ONNX
    graph.write_onnx(trace(network, extras), path, extras=extras, name=name)
    call = graph.run_onnx(path)
    for size, *lengths in SIZES:
        inputs = graph.probe(SHAPES, size, lengths, vocabulary=VOCABULARY)
        assert apart(network, extras, call, inputs) <= graph.TOLERANCE


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


def checked(network: nn.Module, extras: tuple[str, ...], call: Graph) -> float:
    def told(given: Given) -> Predictions:
        (found,) = predict(
            network,
            as_split(given),
            [CleanNoise()],
            runtime=Runtime(cpu=True),
            padding="batch",
            padded_lengths={m: SHAPES.length(m) for m in MODALITIES},
            unk_id=WORDS.info.unk_id,
            pad_id=WORDS.info.pad_id,
            batch_size=len(given),
        )
        return found

    return graph.check(call, extras, told, SHAPES, name="text", tokenizer=WORDS)


@pytest.mark.parametrize("name", ["text", "lnln"])
def test_a_graph_is_held_against_what_predict_gives(name: str) -> None:
    network, extras = small(name)
    right = graph.Inference(network, extras)
    assert checked(network, extras, right) <= 1e-6

    def wrong(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x + 1e-3 for x in right(*inputs))

    with pytest.raises(ConfigError, match="other predictions than the model"):
        checked(network, extras, wrong)


class Counting(nn.Module):
    """Reads what the inputs of a graph do not say: which places were never there."""

    def predict(self, batch):
        return Prediction(batch.vision.keep_BT.sum(-1).float(), {})


def test_a_model_that_reads_more_than_a_graph_is_given_is_refused() -> None:
    network = Counting()
    with pytest.raises(ConfigError, match="other predictions than the model"):
        checked(network, (), graph.Inference(network, ()))


def test_samples_of_the_check_have_all_lengths_and_lack_each_modality() -> None:
    lacking, longest = set(), dict.fromkeys(MODALITIES, 0)
    for given in graph.tried(SHAPES, WORDS):
        for row in range(len(given)):
            lacking |= {m for m in MODALITIES if given.seen(m, row).sum() <= 2 * MARGIN[m]}
        tensors = graph.tensors(given, pad_id=WORDS.info.pad_id)
        inputs = dict(zip(graph.INPUTS, tensors, strict=True))
        for m in MODALITIES:
            valid = inputs[f"{m}_valid"]
            assert valid.sum(1).tolist() == given.lengths[m].tolist()
            longest[m] = max(longest[m], valid.shape[1])
        assert (inputs["ids"][~inputs["text_valid"]] == WORDS.info.pad_id).all()
        assert not inputs["audio"][~inputs["audio_valid"]].any()
    assert lacking == set(MODALITIES)
    assert longest == {m: SHAPES.length(m) for m in MODALITIES}
