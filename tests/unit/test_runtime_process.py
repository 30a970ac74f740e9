"""A process that has no peers; several processes are in tests/dist."""

import random
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import distributed

from lnln_dist.errors import DataError, TrainingError
from lnln_dist.runtime import process as module
from lnln_dist.runtime.launch import Launch, read_launch
from lnln_dist.runtime.process import Process
from lnln_dist.runtime.runtime import Runtime


@pytest.fixture
def process() -> Iterator[Runtime]:
    made = Runtime(cpu=True)
    yield made
    made.close()


def test_seed_is_a_function_of_the_position(process: Runtime) -> None:
    def draw(*position: int) -> tuple[float, float, float]:
        process.seed(*position)
        return torch.rand(1).item(), float(np.random.rand()), random.random()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({draw(1, 2, 3), draw(1, 3, 2), draw(12, 3), draw(1, 2, 4)}) == 4


def test_on_main_returns_and_raises(process: Runtime) -> None:
    assert process.on_main(lambda: 3) == 3

    def fail() -> None:
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        process.on_main(fail)


def test_on_main_shows_a_bug_as_it_is(process: Runtime) -> None:
    with pytest.raises(ZeroDivisionError):
        process.on_main(lambda: 1 // 0)


def test_every_rank_hears_of_the_one_that_failed(process: Runtime) -> None:
    assert process.on_all(lambda: 3) == [3]
    told = (None, TrainingError("rank 1 failed: ValueError: odd"))
    process.gather_objects = lambda value: [value, told]  # as rank 0 of two hears it
    with pytest.raises(TrainingError, match="rank 1 failed: ValueError: odd"):
        process.on_all(lambda: 3)
    with pytest.raises(ZeroDivisionError):  # its own error comes first
        process.on_all(lambda: 1 // 0)
    del process.gather_objects


def test_sums_and_gathers_of_one(process: Runtime) -> None:
    values = {"b": torch.tensor(2.0), "a": torch.tensor(1)}
    assert process.sum_over_ranks(values, torch.tensor(5)) == [2, 1, 5]
    assert process.gather_objects("x") == ["x"]
    assert (process.rank, process.world, process.is_main) == (0, 1, True)
    assert process.peak_memory() > 2**20


def test_samples_of_all_ranks_come_together_unrounded(
    process: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "row": torch.tensor([2**40 + 1, 3]),
        "single": torch.rand(2, 3, 2),
        "double": torch.rand(2, dtype=torch.float64),
    }
    assert all(map(torch.equal, process.gather_samples(values, most=2).values(), values.values()))
    process.world = 3
    none = {name: value[:0] for name, value in values.items()}
    sent: list[torch.Tensor] = []

    def all_gather(held: list[torch.Tensor], own: torch.Tensor) -> None:
        sent.append(own)
        for place, one in zip(held, [*sent, own, own], strict=False):
            place.copy_(one)

    monkeypatch.setattr(distributed, "all_gather", all_gather)
    for mine in (values, none, values):  # as each of three ranks
        found = process.gather_samples(mine, most=3)
    assert {tuple(one.shape) for one in sent} == {(3, 1 + 8 + 24 + 8)}
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], torch.cat([value, value]))
    process.world = 1


def test_what_was_set_up_in_words(process: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    assert process.set_up() == "1 process on cpu: ddp in fp32"
    process.world = 2
    monkeypatch.setattr(module.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(module.distributed, "get_backend", lambda: "nccl")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
    process.device = torch.device("cuda", 0)
    try:
        assert process.set_up() == "2 processes on cuda (H100) by nccl: ddp in fp32"
    finally:
        process.device, process.world = torch.device("cpu"), 1
        monkeypatch.undo()


def test_one_process_where_several_were_promised_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launch = read_launch(precision="fp32", cpu=True, environment={})
    more = Launch(**{**vars(launch), "world": 2})
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(TrainingError, match="one of 2 processes but Accelerate set up 1"):
        Process(more, timedelta(seconds=5))
