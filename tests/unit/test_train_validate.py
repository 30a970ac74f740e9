"""The noise grid after an epoch."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_runs

from lnln_dist.config import Config, SelectConfig
from lnln_dist.data.shards import ShardedDataset, open_dataset
from lnln_dist.evaluate.load import load_model
from lnln_dist.runs import Run
from lnln_dist.runtime import Runtime
from lnln_dist.train.task import Task
from lnln_dist.train.validate import validate

SELECT = SelectConfig(rates=(0.0, 0.3, 0.6), seeds=(1, 2), batch_size=2)
BATCHES, CONDITIONS = 3, 5  # of five samples; rate 0 is one condition for all seeds


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime(cpu=True)
    yield made
    made.close()


@pytest.fixture
def made(tmp_path: Path) -> tuple[Task, ShardedDataset, Config]:
    tiny_runs.write_data(tmp_path / "data")
    run = Run(tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data"))
    config = dataclasses.replace(run.config, select=SELECT)
    return Task(load_model(run)[0]), open_dataset(tmp_path / "data"), config


def test_ranks_meet_once_per_batch_to_ask_whether_to_leave(
    runtime: Runtime, made: tuple[Task, ShardedDataset, Config]
) -> None:
    asked, passes = [], []
    task = made[0]
    task.register_forward_hook(lambda *_: passes.append(1))
    scores = validate(*made, runtime, leaving=lambda: asked.append(len(passes)) or False)
    assert scores is not None
    assert set(scores.by_rate) == set(SELECT.rates)
    assert asked == [CONDITIONS * number for number in range(BATCHES)]
    assert validate(*made, runtime, leaving=lambda: True) is None
