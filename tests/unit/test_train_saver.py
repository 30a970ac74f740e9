"""Checkpoints written in the background."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lnln_dist.errors import UserError
from lnln_dist.runtime import FullState
from lnln_dist.train import checkpoint
from lnln_dist.train.checkpoint import TrainState
from lnln_dist.train.saver import Saver


class Alone:
    """A runtime of one rank, as far as the saver needs it."""

    is_main = True

    def on_main(self, action: Callable[[], Any]) -> Any:
        return action()


def full() -> FullState:
    return FullState(weights={"w": torch.ones(2)}, slots={"exp_avg.w": torch.zeros(2)})


def test_training_goes_on_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    write = checkpoint.save

    def slow(*arguments: Any, **named: Any) -> None:
        assert gate.wait(10)
        write(*arguments, **named)

    monkeypatch.setattr(checkpoint, "save", slow)
    saver, state = Saver(Alone(), tmp_path, keep=2), TrainState(step=1)
    saver.save(state, full)
    state.step = 2  # the next step; must not reach the checkpoint under way
    assert checkpoint.checkpoints(tmp_path) == []
    gate.set()
    saver.wait()
    [folder] = checkpoint.checkpoints(tmp_path)
    assert checkpoint.load(folder)[0].step == 1
    assert folder.name == "step-00000001"


def test_an_error_of_a_save_is_raised_at_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any, **__: Any) -> None:
        raise UserError("the disk is full")

    saver = Saver(Alone(), tmp_path, keep=2)
    saver.save(TrainState(step=1), full)
    saver.wait()
    monkeypatch.setattr(checkpoint, "save", full_disk)
    saver.save(TrainState(step=2), full)
    with pytest.raises(UserError, match="the disk is full"):
        saver.save(TrainState(step=3), full)
    assert [f.name for f in checkpoint.checkpoints(tmp_path)] == ["step-00000001"]
    saver.wait()  # told once


def test_closing_lets_a_save_end(tmp_path: Path) -> None:
    saver = Saver(Alone(), tmp_path, keep=2)
    saver.save(TrainState(step=1), full)
    saver.close()
    assert len(checkpoint.checkpoints(tmp_path)) == 1
