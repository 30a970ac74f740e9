"""Traces of chosen steps."""

import json
from pathlib import Path

import pytest
import torch

from lnln_dist.errors import UserError
from lnln_dist.monitor.health import Meter
from lnln_dist.monitor.profile import TRACED_RANKS, StepProfiler


def train(profiler: StepProfiler, steps: range) -> None:
    meter = Meter()
    for number in steps:
        with profiler.step(number), meter.phase("forward"):
            torch.ones(2, 2) @ torch.ones(2, 2)


def names(trace: Path) -> list[str]:
    return [event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"]]


def test_the_chosen_steps_are_traced_with_their_phases(tmp_path: Path) -> None:
    train(StepProfiler(tmp_path, (2, 4), rank=0), range(6))
    (trace,) = (tmp_path / "profile").iterdir()
    assert trace.name == "steps-2-4-rank-0.pt.trace.json"
    assert names(trace).count("forward") == 2
    assert "aten::mm" in names(trace)


def test_a_run_resumed_within_them_traces_the_rest(tmp_path: Path) -> None:
    train(StepProfiler(tmp_path, (2, 5), rank=1), range(4, 6))
    (trace,) = (tmp_path / "profile").iterdir()
    assert trace.name == "steps-4-5-rank-1.pt.trace.json"


def test_a_run_that_ends_early_keeps_what_it_has(tmp_path: Path) -> None:
    profiler = StepProfiler(tmp_path, (0, 100), rank=0)
    train(profiler, range(3))
    profiler.close(3)
    profiler.close(3)
    (trace,) = (tmp_path / "profile").iterdir()
    assert trace.name == "steps-0-3-rank-0.pt.trace.json"
    assert names(trace).count("forward") == 3


@pytest.mark.parametrize(("steps", "rank"), [(None, 0), ((10, 20), 0), ((0, 2), TRACED_RANKS)])
def test_nothing_is_written_otherwise(
    tmp_path: Path, steps: tuple[int, int] | None, rank: int
) -> None:
    profiler = StepProfiler(tmp_path, steps, rank=rank)
    train(profiler, range(4))
    profiler.close(4)
    assert not (tmp_path / "profile").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "profile").write_text("a file in the way")
    with pytest.raises(UserError, match=r"cannot write .*profile"):
        train(StepProfiler(tmp_path, (0, 1), rank=0), range(1))
