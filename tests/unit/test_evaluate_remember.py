"""Texts that noise left alone are not encoded again."""

from pathlib import Path

import pytest
import tiny_runs
import torch
from torch import Tensor, nn

from lnln_dist.evaluate.cases import open_cases, predict_case
from lnln_dist.evaluate.load import load_model
from lnln_dist.evaluate.protocol import distinct, grid, missing_cells, noises_for
from lnln_dist.evaluate.remember import remembering
from lnln_dist.models.text import TextEncoder
from lnln_dist.runtime import Runtime


class Sizes(nn.Module):
    """Stands in front of a bare encoder and notes how many texts it is asked for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.asked = model, list[int]()

    def forward(self, **inputs: Tensor) -> object:
        self.asked.append(len(inputs["input_ids"]))
        return self.model(**inputs)


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
    found: TextEncoder = load_model(case.run).text_encoder  # type: ignore[assignment]
    found.model = Sizes(found.model)  # type: ignore[assignment]
    return found


def asked(encoder: TextEncoder) -> list[int]:
    return encoder.model.asked  # type: ignore[attr-defined, no-any-return, return-value]


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
    asked(encoder).clear()
    with remembering(encoder):
        found = [encoder(*call) for call in calls]
    assert asked(encoder) == [3, 2, 3, 3]
    for one, two in zip(alone, found, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    for number in (0, 3, 4):  # the same batch as without memory
        assert torch.equal(alone[number], found[number])


@torch.inference_mode()
def test_the_rest_of_the_input_counts_too(encoder: TextEncoder) -> None:
    ids_BT, valid_BT, segments_BT = texts([5, 6, 7])
    with remembering(encoder):
        encoder(ids_BT, valid_BT, segments_BT)
        encoder(ids_BT, valid_BT & (ids_BT < 7), segments_BT)
        encoder(ids_BT, valid_BT, segments_BT + 1)
    assert asked(encoder) == [1, 1, 1]


@torch.inference_mode()
def test_nothing_is_remembered_afterwards(encoder: TextEncoder) -> None:
    call = texts([5, 6, 7])
    for _ in range(2):
        with pytest.raises(KeyError), remembering(encoder):
            encoder(*call)
            raise KeyError
    encoder(*call)
    assert asked(encoder) == [1, 1, 1]


@pytest.mark.parametrize("padding", ["batch", "corpus"])
def test_predictions_are_those_of_an_encoder_without_memory(
    tmp_path: Path, data: Path, padding: str
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, padding=padding)
    (case,) = open_cases([run], data=None, split="test", checkpoint="best")
    model, runtime = load_model(case.run), Runtime(cpu=True)
    model.text_encoder.model = sizes = Sizes(model.text_encoder.model)  # type: ignore[assignment]
    cells = distinct([*grid([0.0, 0.1, 0.2, 0.5], [1, 2]), *missing_cells([("audio",)], 1)])
    noises = noises_for(cells, "paper", case.split, case.index.padded_lengths)
    together = predict_case(case, model, noises, runtime=runtime, batch_size=4)
    few = sum(sizes.asked)
    sizes.asked.clear()
    for noise, found in zip(noises, together, strict=True):
        (alone,) = predict_case(case, model, [noise], runtime=runtime, batch_size=4)
        assert found.sentiment == pytest.approx(alone.sentiment, abs=1e-6)
        for name, values in alone.extras.items():
            assert found.extras[name] == pytest.approx(values, abs=1e-6)
    assert sum(sizes.asked) == len(cells) * len(case.split)
    assert few < 0.7 * sum(sizes.asked)
