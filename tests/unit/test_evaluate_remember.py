"""Texts that noise left alone are not encoded again."""

from pathlib import Path
from typing import Any

import pytest
import tiny_runs
import torch
from torch import Tensor, nn

from lnln_dist.evaluate.cases import open_cases, predict_case
from lnln_dist.evaluate.load import load_model
from lnln_dist.evaluate.protocol import distinct, noises_for
from lnln_dist.evaluate.registry import PROTOCOLS, customised
from lnln_dist.evaluate.remember import remembering
from lnln_dist.models.text import TextEncoder
from lnln_dist.runtime import Runtime


def note_sizes(encoder: TextEncoder) -> list[int]:
    """How many texts each call of the bare encoder is asked for, from now on."""
    asked: list[int] = []

    def note(_: nn.Module, __: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        asked.append(len(inputs["input_ids"]))

    encoder.model.register_forward_pre_hook(note, with_kwargs=True)
    return asked


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepared"
    tiny_runs.write_data(folder)
    return folder


@pytest.fixture
def encoder(tmp_path: Path, data: Path) -> TextEncoder:
    (case,) = open_cases(
        [tiny_runs.write_tiny_run(tmp_path / "a", data)],
        data=None,
        split="test",
        checkpoint="best",
    )
    found: TextEncoder = load_model(case.run)[0].text_encoder  # type: ignore[assignment]
    return found


def texts(*rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    ids_BT = torch.tensor(rows)
    return ids_BT, ids_BT > 0, torch.zeros_like(ids_BT)


@torch.inference_mode()
def test_only_texts_that_are_new_are_encoded(encoder: TextEncoder) -> None:
    calls = [
        texts([5, 6, 7], [5, 6, 0], [8, 9, 7]),
        texts([5, 1, 7], [5, 6, 0], [8, 1, 7]),  # the second is as it was
        texts([5, 1, 7], [5, 6, 0], [8, 9, 7]),  # the first two as before, the last as at first
        texts([5, 1, 1], [1, 6, 0], [1, 9, 7]),  # nothing is
        texts([5, 1], [1, 6], [1, 9]),  # another shape
    ]
    alone = [encoder(*call) for call in calls]
    asked = note_sizes(encoder)
    with remembering(encoder):
        found = [encoder(*call) for call in calls]
    assert asked == [3, 2, 3, 3]
    for one, two in zip(alone, found, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    for number in (0, 3, 4):  # the same batch as without memory
        assert torch.equal(alone[number], found[number])


@torch.inference_mode()
def test_the_rest_of_the_input_counts_too(encoder: TextEncoder) -> None:
    ids_BT, valid_BT, segments_BT = texts([5, 6, 7])
    asked = note_sizes(encoder)
    with remembering(encoder):
        encoder(ids_BT, valid_BT, segments_BT)
        encoder(ids_BT, valid_BT & (ids_BT < 7), segments_BT)
        encoder(ids_BT, valid_BT, segments_BT + 1)
    assert asked == [1, 1, 1]


@torch.inference_mode()
def test_nothing_is_remembered_afterwards(encoder: TextEncoder) -> None:
    call, asked = texts([5, 6, 7]), note_sizes(encoder)
    for _ in range(2):
        with pytest.raises(KeyError), remembering(encoder):
            encoder(*call)
            raise KeyError
    encoder(*call)
    assert asked == [1, 1, 1]


@pytest.mark.parametrize("padding", ["batch", "corpus"])
def test_predictions_are_those_of_an_encoder_without_memory(
    tmp_path: Path, data: Path, padding: str
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, padding=padding)
    (case,) = open_cases([run], data=None, split="test", checkpoint="best")
    (model, _), runtime = load_model(case.run), Runtime(cpu=True)
    asked = note_sizes(model.text_encoder)  # type: ignore[arg-type]
    protocol = customised(
        PROTOCOLS["paper"], rates=[0.0, 0.1, 0.2, 0.5], seeds=[1, 2], missing=[("audio",)]
    )
    cells = distinct(protocol.cells())
    noises = noises_for(cells, "paper", case.split, case.index.padded_lengths)
    together = predict_case(case, model, noises, runtime=runtime, batch_size=4)
    few = sum(asked)
    asked.clear()
    for noise, found in zip(noises, together, strict=True):
        (alone,) = predict_case(case, model, [noise], runtime=runtime, batch_size=4)
        assert found.sentiment == pytest.approx(alone.sentiment, abs=1e-6)
        for name, values in alone.extras.items():
            assert found.extras[name] == pytest.approx(values, abs=1e-6)
    assert sum(asked) == len(cells) * len(case.split)
    assert few < 0.7 * sum(asked)


@torch.inference_mode()
def test_what_a_network_does_to_a_text_in_place_is_not_remembered(encoder: TextEncoder) -> None:
    call = texts([5, 6, 7], [5, 6, 0])
    fresh = encoder(*call)
    model = nn.ModuleList([encoder])
    with remembering(model):
        for _ in range(3):
            found = encoder(*call)
            assert torch.equal(found, fresh)
            found += 100
