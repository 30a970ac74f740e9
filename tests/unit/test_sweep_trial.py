"""What a trial's process does besides training."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sweep_standin import make_study, train
from tiny_runs import write_data, write_tiny_run

from lnln_dist.config import Config, OptimConfig
from lnln_dist.errors import StorageError, TrainingError, TransientError
from lnln_dist.files import LOCK, PENDING, held
from lnln_dist.runs import Run
from lnln_dist.settings import config_hash
from lnln_dist.sweep import trial
from lnln_dist.sweep.records import NOTE, Origin, newest_state, read_origin
from lnln_dist.sweep.trial import (
    TrialFailedError,
    clear_torn_start,
    failing_for_good,
    hand_on,
    report_of,
    scrub,
)


def test_a_torn_start_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir(parents=True)
    for name in ("log.jsonl", NOTE):
        (tmp_path / name).write_text("{}\n")
    clear_torn_start(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, NOTE}


def test_a_folder_that_is_still_trained_in_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "HELD_S", 0.1)
    (tmp_path / "encoder").mkdir(parents=True)
    with held(tmp_path, wait_s=0), pytest.raises(TransientError, match="being trained"):
        clear_torn_start(tmp_path)
    assert (tmp_path / "encoder").exists()


@pytest.mark.parametrize(
    "error", [TransientError("lost"), StorageError("the disk is full"), RuntimeError("no idea")]
)
def test_what_may_be_better_next_time_passes(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), failing_for_good(tmp_path):
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("loss\nnot finite"), "loss not finite"),
        (MemoryError(), "out of memory: MemoryError; set train.micro_batch"),
        (RuntimeError("CUDA out of memory. x"), "out of memory: CUDA out of memory. x; set"),
    ],
)
def test_the_trials_own_fault_is_told_in_one_line(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    with pytest.raises(TrialFailedError, match=f"^{reason}"), failing_for_good(tmp_path):
        raise error
    assert type(error).__name__ in (tmp_path / "failure.txt").read_text()


def test_a_reason_survives_that_its_traceback_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a file in the place of the folder")
    with pytest.raises(TrialFailedError, match=r"^loss"), failing_for_good(tmp_path / "t"):
        raise TrainingError("loss not finite")


def test_an_epoch_is_told_in_flat_numbers(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    key = next(iter(study.records))
    train(study, key, 2)
    run = study.folder.trial(study.name(key))
    step = {"kind": "train", "step": 2, "epoch": 2, "loss/total": 0.5, "optim/grad_norm": 1.0}
    step |= {"speed/samples_per_s": 9.0, "memory/peak_gib": None}
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps(step) + "\n")
    assert report_of(run, 2) == {
        "epoch": 2,
        "step": 2,
        "mae": study.records[key].epochs[1].scores["mae"],
        "corr": 0.5,
        "loss/total": 0.5,
        "samples_per_s": 9.0,
    }


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run after its third epoch."""
    folder = tmp_path_factory.mktemp("donor")
    write_data(folder / "data")
    run = write_tiny_run(folder / "run", folder / "data")
    checkpoint(run, best_epoch=3)
    (run / "log.jsonl").write_text('{"kind": "score"}\n')
    return run


def checkpoint(run: Path, *, best_epoch: int) -> None:
    folder = run / "checkpoints" / "step-00000009"
    folder.mkdir(parents=True, exist_ok=True)
    state = {"step": 9, "finished": False, "best_epoch": {"best": best_epoch}}
    (folder / "state.json").write_text(json.dumps({"state": state}))


def heir_of(donor: Path) -> tuple[Config, Origin]:
    config = dataclasses.replace(Run(donor).config, optim=OptimConfig(lr=0.5))
    return config, Origin(pointer={"run": str(donor), "epoch": 3}, values={"optim.lr": 0.5})


def test_anothers_weights_and_scores_are_taken_over(donor: Path, tmp_path: Path) -> None:
    run = tmp_path / "heir"
    run.mkdir()
    (run / NOTE).write_text("{}")
    config, origin = heir_of(donor)
    torn = tmp_path / f"{PENDING}heir-1-0123abcd"
    torn.mkdir()
    clear_torn_start(run)
    assert not torn.exists(), "a copy of all weights"
    (run / "old.txt").write_text("")
    hand_on(run, config, origin)
    made = Run(run)
    assert made.config == config
    assert made.info.config_hash == config_hash(config)
    assert made.best_path().read_bytes() == Run(donor).best_path().read_bytes()
    assert newest_state(run) == newest_state(donor)
    assert read_origin(run) == origin
    assert (run / NOTE).exists(), "where it was trained"
    assert not (run / "old.txt").exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: checkpoint(run, best_epoch=2), "best weights are newer than its newest"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "TransientError|empty|iterable"),
    ],
)
def test_what_does_not_belong_together_is_not_taken(
    donor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, reason: str
) -> None:
    monkeypatch.setattr(trial, "HELD_S", 0.1)
    other = shutil.copytree(donor, tmp_path / "donor")
    damage(other)
    config, origin = heir_of(other)
    with pytest.raises(TransientError, match=f"its weights cannot be taken over .*({reason})"):
        hand_on(tmp_path / "heir", config, origin)
    assert [path.name for path in tmp_path.iterdir()] == ["donor"]


def test_scrub() -> None:
    left = {
        "RANK": "1",
        "MASTER_PORT": "1",
        "ACCELERATE_USE_CPU": "1",
        "HOME": "/",
        "PMI_SIZE": "2",
    }
    environment = dict(left)
    assert scrub(environment, ranks=False) == ["ACCELERATE_USE_CPU"]
    assert scrub(environment) == ["MASTER_PORT", "PMI_SIZE", "RANK"]
    assert environment == {"HOME": "/"}
