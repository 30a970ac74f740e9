"""One stretch of a trial."""

from pathlib import Path
from typing import Any

import pytest
import sweep_standin

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import StorageError, TrainingError, TransientError
from lnln_dist.files import LOCK, held
from lnln_dist.sweep import trial
from lnln_dist.sweep.records import Epoch
from lnln_dist.sweep.trial import Job, prepare, run_job, scrub


def job(folder: Path, until: int, epochs: int = 4) -> Job:
    config = settings.to_dict(settings.build({"train": {"epochs": epochs}}))
    return Job(trial="t", folder=str(folder / "t"), config=config, until=until, cpu=True)


def test_stretches_add_up_to_the_whole(tmp_path: Path) -> None:
    told: list[Epoch] = []
    first = run_job(job(tmp_path, 2), told.append, program=sweep_standin.program)
    assert (first.status, len(told)) == ("paused", 2)
    assert [row.epoch for row in prepare(job(tmp_path, 4))] == [1, 2]
    second = run_job(job(tmp_path, 4), told.append, program=sweep_standin.program)
    assert second.status == "finished"
    assert (first.start, second.start) == (0, 2)
    assert [row.epoch for row in told] == [1, 2, 3, 4]
    assert second.host
    assert second.pid
    whole: list[Epoch] = []
    run_job(job(tmp_path / "other", 4), whole.append, program=sweep_standin.program)
    assert [row.scores for row in whole] == [row.scores for row in told]


def test_a_torn_start_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "t" / "encoder").mkdir(parents=True)
    (tmp_path / "t" / "log.jsonl").write_text("{}\n")
    assert prepare(job(tmp_path, 1)) == []
    assert [path.name for path in (tmp_path / "t").iterdir()] == [LOCK]


def test_a_folder_that_is_still_trained_in_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "HELD_S", 0.1)
    (tmp_path / "t" / "encoder").mkdir(parents=True)
    with held(tmp_path / "t", wait_s=0), pytest.raises(TransientError, match="being trained"):
        prepare(job(tmp_path, 1))
    assert (tmp_path / "t" / "encoder").exists()


def test_passing_trouble_is_raised_and_a_full_disk_is_told(tmp_path: Path) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise TransientError("lost the other processes")

    def full(*_: Any, **__: Any) -> Any:
        raise StorageError("the disk is full")

    with pytest.raises(TransientError):
        run_job(job(tmp_path, 1), lambda epoch: None, program=lost)
    outcome = run_job(job(tmp_path, 1), lambda epoch: None, program=full)
    assert (outcome.status, outcome.reason) == ("no room", "the disk is full")


def test_a_reason_survives_that_its_traceback_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a file in the place of the folder")

    def breaks(*_: Any, **__: Any) -> Any:
        raise TrainingError("loss not finite")

    outcome = run_job(job(tmp_path, 1), lambda epoch: None, program=breaks)
    assert (outcome.status, outcome.reason) == ("failed", "loss not finite")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("loss not finite"), "loss not finite"),
        (MemoryError(), "out of memory: MemoryError; set train.micro_batch"),
        (RuntimeError("CUDA out of memory. x"), "out of memory: CUDA out of memory. x; set"),
    ],
)
def test_the_trials_own_fault_is_an_outcome(tmp_path: Path, error: Exception, reason: str) -> None:
    def breaks(*_: Any, **__: Any) -> Any:
        raise error

    outcome = run_job(job(tmp_path, 1), lambda epoch: None, program=breaks)
    assert outcome.status == "failed"
    assert outcome.reason.startswith(reason)
    assert type(error).__name__ in (tmp_path / "t" / "failure.txt").read_text()


def test_a_bad_config_is_an_outcome(tmp_path: Path) -> None:
    bad = Job(
        trial="t", folder=str(tmp_path / "t"), config={"train": {"epochs": 0}}, until=1, cpu=True
    )
    outcome = run_job(bad, lambda epoch: None, program=sweep_standin.program)
    assert outcome.status == "failed"
    assert "train.epochs" in outcome.reason


def test_the_program_gets_the_full_config(tmp_path: Path) -> None:
    seen: list[Config] = []

    def look(config: Config, folder: Path, **more: Any) -> Any:
        assert more["cpu"] is True
        seen.append(config)
        return sweep_standin.program(config, folder, **more)

    run_job(job(tmp_path, 1), lambda epoch: None, program=look)
    assert seen == [settings.build({"train": {"epochs": 4}})]


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
