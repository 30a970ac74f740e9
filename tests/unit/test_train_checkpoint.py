"""Checkpoints: exact, committed whole, damage named."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from lnln_dist.errors import CheckpointError, UserError
from lnln_dist.files import PENDING
from lnln_dist.runtime import FullState
from lnln_dist.train import checkpoint
from lnln_dist.train.checkpoint import Saver, TrainState


def full() -> FullState:
    generator = torch.Generator().manual_seed(0)
    weights = {"a.weight": torch.randn(3, 4, generator=generator), "a.bias": torch.randn(4)}
    slots = {"exp_avg.a.weight": torch.randn(3, 4), "step.a.weight": torch.tensor(3.0)}
    return FullState(weights=weights, slots=slots, scaler={"scale": 2.0})


def save(run: Path, at: int) -> FullState:
    state = TrainState(step=at, best={"best": float("nan")})
    written = full()
    checkpoint.save(run, state, written, keep=2)
    return written


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = save(tmp_path, 3)
    [folder] = checkpoint.checkpoints(tmp_path)
    state, read = checkpoint.load(folder)
    assert (state.step, read.scaler) == (3, {"scale": 2.0})
    assert state.best["best"] != state.best["best"]  # NaN survives
    for name in ("weights", "slots"):
        a, b = getattr(written, name), getattr(read, name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for at in (1, 2, 10, 3):
        save(tmp_path, at)
    names = [p.name for p in checkpoint.checkpoints(tmp_path)]
    assert names == ["step-00000003", "step-00000010"]
    assert not list((tmp_path / "checkpoints").glob(f"{PENDING}*"))


def test_a_half_written_checkpoint_is_never_picked_up(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / f"{PENDING}step-00000009-1-aa"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    assert checkpoint.checkpoints(tmp_path) == []
    save(tmp_path, 1)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_flipped_bit_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    [folder] = checkpoint.checkpoints(tmp_path)
    raw = bytearray((folder / name).read_bytes())
    raw[-1] ^= 1
    (folder / name).write_bytes(raw)
    with pytest.raises(CheckpointError, match=f"{name}: damaged"):
        checkpoint.load(folder)


def test_a_note_with_a_path_cannot_leave_the_folder(tmp_path: Path) -> None:
    save(tmp_path, 1)
    [folder] = checkpoint.checkpoints(tmp_path)
    note = (folder / "state.json").read_text().replace("model.safetensors", "../../../etc/passwd")
    (folder / "state.json").write_text(note)
    with pytest.raises(CheckpointError):
        checkpoint.load(folder)


FULL_DISK = """
import resource, sys
from pathlib import Path
from test_train_checkpoint import save
from lnln_dist.errors import UserError
save(Path(sys.argv[1]), 1)
# As if the disk ended in the middle of a file: safetensors writes it itself, not by Python.
resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
try:
    save(Path(sys.argv[1]), 2)
except UserError as err:
    print("told:", err)
"""


def test_a_write_that_the_system_refuses_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    here = Path(__file__).resolve()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": f"{here.parent}:{here.parents[2]}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "told: cannot write" in done.stdout
    assert "File too large" in done.stdout
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-00000001"]
    assert not list((tmp_path / "checkpoints").glob(f"{PENDING}*"))


def test_a_full_disk_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        # What safetensors says on a full file system.
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        save(tmp_path, 2)


def test_other_errors_of_safetensors_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise SafetensorError("Error while serializing: invalid dtype")

    monkeypatch.setattr(checkpoint, "save_file", wrong)
    with pytest.raises(SafetensorError, match="invalid dtype"):
        save(tmp_path, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda note: note.update(sha256={}), "has to hold the hashes of model.safetensors and"),
        (lambda note: note["state"].update(step=-5), "not a readable checkpoint"),
    ],
)
def test_a_note_that_cannot_be_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    save(tmp_path, 3)
    [folder] = checkpoint.checkpoints(tmp_path)
    note = json.loads((folder / "state.json").read_text())
    change(note)
    (folder / "state.json").write_text(json.dumps(note))
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(folder)


class Alone:
    """A runtime of one rank, as far as the saver needs it."""

    is_main = True

    def on_main(self, action: Callable[[], Any]) -> Any:
        return action()


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
