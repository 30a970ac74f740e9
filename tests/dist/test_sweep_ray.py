"""Sweeps on a real Ray cluster of this machine."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import TINY
from launcher import environment, run_command
from sweep_standin import SWEEP, drive, make_study
from tiny_runs import write_data

from lnln_dist.sweep.records import NOTE, Note, Trained

pytest.importorskip("ray", reason="the sweep's Ray tests need Ray: pip install -e '.[ray]'")
pytestmark = [pytest.mark.dist, pytest.mark.slow]
DRIVER = Path(__file__).with_name("sweep_driver.py")


class Sweep:
    """A sweep's driver in a process group of its own."""

    def __init__(self, folder: Path, raw: dict[str, Any], *program: str) -> None:
        config = folder.with_suffix(".yaml")
        config.write_text(yaml.safe_dump(raw))
        self.folder = folder
        self.log = folder.with_suffix(".log")
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(DRIVER), str(config), str(folder), *program],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,
            )

    def end(self, timeout: float = 200) -> None:
        """Waits for the sweep to end well."""
        try:
            code = self.process.wait(timeout)
        finally:
            self.kill()
        assert code == 0, self.log.read_text()[-4000:]

    def kill(self) -> None:
        """Kills the driver and what it started, without a word."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def notes(self) -> dict[str, Note]:
        """Of every trial that has ended a stretch, failed or was lost."""
        paths = self.folder.glob(f"trials/*/{NOTE}")
        return {path.parent.name: Note.model_validate_json(path.read_bytes()) for path in paths}

    def stretches(self) -> list[Trained]:
        return [stretch for note in self.notes().values() for stretch in note.stretches]

    def wait_for_ends(self, count: int, timeout: float = 100) -> None:
        limit = time.monotonic() + timeout
        while len(self.stretches()) < count:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < limit, self.log.read_text()[-4000:]
            time.sleep(0.1)


def summary(folder: Path) -> str:
    return (folder / "summary.csv").read_text()


def epochs(folder: Path) -> set[tuple[str, str, str]]:
    """What was trained: trial, epoch and score."""
    with (folder / "sweep.csv").open(newline="") as file:
        return {(row["trial"], row["epoch"], row["mae"]) for row in csv.DictReader(file)}


def test_killed_and_resumed_equals_undisturbed_and_the_plan(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "cut", SWEEP, "plain", "0.1")
    sweep.wait_for_ends(5)
    sweep.kill()
    told = Sweep(tmp_path / "cut", SWEEP, "plain", "0.1")
    told.wait_for_ends(9)
    told.process.send_signal(signal.SIGTERM)
    try:
        assert told.process.wait(60) == 85
    finally:
        told.kill()
    said = told.log.read_text()
    assert "interrupted; every trial keeps its checkpoint: go on with --resume" in said
    assert "Traceback" not in said
    assert "*** SIGTERM" not in said, "Ray printed its stack"
    done = sweep.notes()
    resumed = Sweep(tmp_path / "cut", SWEEP, "plain", "0")
    resumed.end()
    # The same planner, one stretch after the other in this process.
    drive(make_study(tmp_path / "alone"))
    from lnln_dist.sweep.results import Results
    from lnln_dist.sweep.summary import write

    write(Results(tmp_path / "alone"))
    assert summary(tmp_path / "cut") == summary(tmp_path / "alone")
    assert epochs(tmp_path / "cut") == epochs(tmp_path / "alone")
    assert len(done) >= 5
    for name, note in resumed.notes().items():
        ends = [stretch.epoch for stretch in note.stretches]
        assert ends == sorted(ends), f"{name} was trained again"
    pids = {stretch.pid for stretch in resumed.stretches()}
    assert len(pids) <= 14, "worker processes were not reused"
    assert (tmp_path / "cut" / "figures" / "rungs.png").stat().st_size > 1000
    assert "ray" not in {p.name for p in (tmp_path / "cut").iterdir()}


def test_failures_are_counted_retried_or_survived(tmp_path: Path) -> None:
    raw = {
        **SWEEP,
        "axes": {"loss.adversarial": {"grid": [0.1, 0.2, 0.3, 0.4, 0.5]}},
        "seeds": [1],
        "screen": {"scheduler": "fifo", "epochs": 3},
        "confirm": {"best": 2},
        "resources": {"retries": 1},
    }
    sweep = Sweep(tmp_path / "sweep", raw, "faulty", "0.05")
    sweep.end()
    notes = sweep.notes()
    failed = {name: note.failure for name, note in notes.items() if note.failure}
    assert failed.keys() == {"adversarial0.1_s1", "adversarial0.2_s1"}
    assert failed["adversarial0.1_s1"] == "loss not finite"
    assert failed["adversarial0.2_s1"] == "ValueError: a bug"
    lost = [name for name, note in notes.items() if note.losses]
    assert sorted(lost) == ["adversarial0.2_s1", "adversarial0.3_s1"]
    assert "Tune: 5 trials, 2 errors" in sweep.log.read_text()
    from lnln_dist.sweep.results import Results

    results = Results(tmp_path / "sweep")
    assert results.over
    assert [r.name for r in results.ranked("all")] == ["adversarial0.4", "adversarial0.3"]
    assert "2 trials failed" in (tmp_path / "sweep" / "summary.md").read_text()


@pytest.mark.parametrize(
    "scheduler",
    [
        {"ray": "ASHAScheduler", "grace_period": 1, "reduction_factor": 2},
        {"ray": "HyperBandScheduler"},
    ],
    ids=lambda given: given["ray"],
)
def test_a_scheduler_of_rays_by_its_name_in_the_yaml(
    tmp_path: Path, scheduler: dict[str, Any]
) -> None:
    raw = {**SWEEP, "screen": {"scheduler": scheduler}, "loggers": ["csv", "json"]}
    sweep = Sweep(tmp_path / "sweep", raw, "plain", "0.02")
    sweep.end()
    assert "0 errors" in sweep.log.read_text()
    assert any(note.stopped for note in sweep.notes().values())
    from lnln_dist.sweep.results import Results

    winner = Results(tmp_path / "sweep").winner("all")
    assert winner is not None
    assert winner.name == "adversarial0.4_reconstruction0.1"
    (log,) = (tmp_path / "sweep").glob(f"ray/*/{winner.name}_s1/progress.csv")
    with log.open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)][-1] == "9"
    said = (tmp_path / "sweep" / "summary.md").read_text()
    assert "by who reports first" in said


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shards"
    write_data(folder)
    return folder


def tiny(data: Path, **more: Any) -> dict[str, Any]:
    return {
        "config": [str(TINY)],
        "settings": {"data.path": str(data), "train.epochs": 2, "train.batch_size": 4},
        # The worst of these comes last in the order, so that the best has to wait for it.
        "axes": {"loss.adversarial": {"grid": [0.2, 0.8, 3.0]}},
        "search": {"seed": 3},
        "seeds": [5],
        "keep": "all",
        **more,
    }


def plain_run(data: Path, output: Path, weight: float) -> Path:
    """The training program by itself, as a user would start it."""
    arguments = [
        *("train", "--config", TINY, "--data.path", data, "--train.epochs", "2", "--cpu"),
        *("--train.batch_size", "4", "--train.seed", "5", "--loss.adversarial", weight),
        *("--output", output),
    ]
    code, said = run_command(
        [sys.executable, "-m", "lnln_dist", *map(str, arguments)],
        folder=output.parent,
        timeout_s=100,
    )
    assert code == 0, said
    return output


def scores(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["kind"] == "score"]
    return [{k: v for k, v in line.items() if k not in ("time", "seconds")} for line in kept]


def test_a_trial_equals_the_plain_training_program(data: Path, tmp_path: Path) -> None:
    """Bit for bit, although it was paused and went on in another stretch.

    Two settings of four go on. Whichever they are and however fast this machine is, one of them
    has to wait for the others; only the last to arrive may go on without a pause.
    """
    axes = {"loss.adversarial": {"grid": [0.2, 0.8, 1.5, 3.0]}}
    raw = tiny(data, axes=axes, screen={"reduction": 2}, confirm={"best": 2})
    sweep = Sweep(tmp_path / "sweep", raw, "real")
    sweep.end()
    paused = [name for name, note in sweep.notes().items() if len(note.stretches) == 2]
    assert paused, sweep.notes()
    trial = tmp_path / "sweep" / "trials" / paused[0]
    assert sweep.notes()[trial.name].stretches[-1].epoch == 2
    weight = yaml.safe_load((trial / "config.yaml").read_text())["loss"]["adversarial"]
    alone = plain_run(data, tmp_path / "alone", weight)
    assert scores(trial) == scores(alone)
    best = Path("best", "best.safetensors")
    assert (trial / best).read_bytes() == (alone / best).read_bytes()
    kept = yaml.safe_load((trial / "config.yaml").read_text())
    kept["train"]["keep_checkpoints"] = 2  # all that a sweep changes
    assert kept == yaml.safe_load((alone / "config.yaml").read_text())


def test_a_trial_one_of_whose_two_workers_dies_goes_on(data: Path, tmp_path: Path) -> None:
    raw = tiny(data, axes={"loss.adversarial": {"grid": [0.2]}}, resources={"workers": 2})
    sweep = Sweep(tmp_path / "sweep", raw, "dying")
    sweep.end()
    note = sweep.notes()["adversarial0.2_s5"]
    assert (tmp_path / "sweep" / "trials" / "died_adversarial0.2_s5").exists()
    assert note.losses == 1
    assert note.failure is None
    assert "\nFinished." in (tmp_path / "sweep" / "summary.md").read_text()


def test_a_population_is_killed_and_goes_on(data: Path, tmp_path: Path) -> None:
    """Settings change while they train; its trials begin badly, so that weights are handed on."""
    raw = tiny(
        data,
        axes={"optim.lr": {"choice": [1e-9, 3e-3]}, "loss.adversarial": {"uniform": [0.1, 0.9]}},
        search={"kind": "random", "samples": 4, "seed": 1},
        screen={
            "scheduler": {
                "ray": "PopulationBasedTraining",
                "perturbation_interval": 1,
                "quantile_fraction": 0.5,
            }
        },
    )
    raw["settings"]["train.epochs"] = 3
    folder = tmp_path / "sweep"
    first = Sweep(folder, raw, "real")
    limit = time.monotonic() + 100
    while not list(folder.glob("trials/*/origin.json")):
        assert first.process.poll() is None, first.log.read_text()[-4000:]
        assert time.monotonic() < limit
        time.sleep(0.05)
    first.kill()
    second = Sweep(folder, raw, "real")
    second.end()
    trials = sorted(folder.glob("trials/*_s5"))
    assert len(trials) == 4
    changed = 0
    for run in trials:
        assert [row["epoch"] for row in scores(run)] == [1, 2, 3]
        if (run / "origin.json").exists():
            origin = json.loads((run / "origin.json").read_text())
            plain = yaml.safe_load((run / "config.yaml").read_text())
            assert plain["optim"]["lr"] == origin["values"]["optim.lr"]
            assert plain["loss"]["adversarial"] == origin["values"]["loss.adversarial"]
            changed += f"adversarial{plain['loss']['adversarial']:g}_" not in run.name
    assert changed
    said = (folder / "summary.md").read_text()
    assert "Finished." in said
    assert "Settings were changed while they were trained" in said
    winner = yaml.safe_load((folder / "winner" / "all.yaml").read_text())
    best = said.split("| all | ")[1].split(" |")[0]
    last = yaml.safe_load((folder / "trials" / f"{best}_s5" / "config.yaml").read_text())
    assert winner["optim"]["lr"] == last["optim"]["lr"]


def test_trials_of_two_workers(data: Path, tmp_path: Path) -> None:
    axes = {"optim.lr": {"grid": [1e-3, 1e30]}}
    raw = tiny(data, axes=axes, resources={"workers": 2}, confirm={"best": 2})
    raw["settings"]["loss.adversarial"] = 0.2
    sweep = Sweep(tmp_path / "sweep", raw, "real")
    sweep.end()
    trial = tmp_path / "sweep" / "trials" / "lr0.001_s5"
    assert json.loads((trial / "run.json").read_text())["world_size"] == 2
    alone = plain_run(data, tmp_path / "alone", 0.2)
    for one, other in zip(scores(trial), scores(alone), strict=True):
        assert one["valid/mae/mean"] == pytest.approx(other["valid/mae/mean"], rel=1e-5)
    # The other diverges: its own fault, so it is not tried again.
    notes = sweep.notes()
    assert [name for name, note in notes.items() if note.failure] == ["lr1e+30_s5"]
    assert "not finite" in str(notes["lr1e+30_s5"].failure)
    assert not any(note.losses for note in notes.values())
