"""What a running sweep says on the terminal."""

from pathlib import Path

import pytest
from rich.console import Console
from sweep_standin import SWEEP, begin, drive, make_study

from lnln_dist.sweep.live import Board, counts, duration
from lnln_dist.sweep.records import Epoch
from lnln_dist.sweep.state import Study

STATES = ("running", "finished", "held", "stopped", "failed")


def counted(study: Study) -> list[int]:
    found = counts(study)
    assert tuple(found) == STATES
    return list(found.values())


def test_durations() -> None:
    assert duration(42.4) == "42 s"
    assert duration(150) == "2 min"
    assert duration(3900) == "65 min"
    assert duration(3 * 3600 + 300) == "3 h 05 min"


def test_headline_and_table(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    board = Board(study)
    drive(study, stop_after=20)
    key = begin(study)
    study.heard(key, Epoch(1, 1, 0.0, {"mae": 1.23456, "corr": 0.0}))
    console = Console(width=150, record=True)
    console.print(board.view())
    text = console.export_text()
    assert "1 running" in text
    assert "left" in text
    row = next(line for line in text.splitlines() if study.name(key) in line)
    assert row.split()[0] in ("screen", "confirm")
    study.failed(key, "gone")
    assert "1 failed" in board.headline()


def test_every_trial_is_counted_where_it_stands(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    assert counted(study) == [0, 0, 0, 0, 0]
    first = begin(study)
    assert counted(study) == [1, 0, 0, 0, 0]
    second = begin(study)
    study.heard(first, Epoch(1, 1, 0.0, {"mae": 1.0, "corr": 0.0}))
    study.ended(first)
    # Failed before its first epoch; the other seed of that setting can win nothing any more.
    study.failed(second, "gone")
    assert counted(study) == [0, 0, 0, 1, 1]
    text = Board(study).headline()
    assert text.startswith("0 running, 0 finished, 0 held, 1 stopped, 1 failed, ")


def test_held_trials_become_stopped_or_finished(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    # 8 settings x 2 seeds up to the first decision: it is taken when the last of them is known.
    drive(study, stop_after=2)
    assert counted(study) == [0, 0, 2, 0, 0]
    while not all(len(r.epochs) for k, r in study.records.items() if k[1] in (1, 2)):
        drive(study, stop_after=1)
    # Who was not promoted is stopped, although the stratum is not decided. The two of the second
    # rung went on at once, and one of them up to the last.
    assert not study.plan.decided
    assert [len(rung.names) for rung in study.plan.rungs["all"][0]] == [8, 2, 1]
    assert counted(study) == [0, 0, 2, 14, 0]
    drive(study)
    # One setting is trained to the end on 3 seeds, and with reduction 3 only it went to the top.
    finished = sum(r.finished for r in study.records.values())
    begun = sum(bool(r.epochs) for r in study.records.values())
    assert finished >= 3
    assert counted(study) == [0, finished, 0, begun - finished, 0]


@pytest.mark.parametrize("scheduler", ["asha", "fifo"])
def test_a_failed_replica_stops_the_others_of_its_setting(tmp_path: Path, scheduler: str) -> None:
    screen = {"seeds": 2, "scheduler": scheduler, "epochs": 4}
    study = make_study(tmp_path, {**SWEEP, "screen": screen})
    drive(study, stop_after=1)
    ((name, seed),) = (key for key, record in study.records.items() if record.epochs)
    study.records[name, 3 - seed].note.failure = "gone"
    assert counted(study) == [0, 0, 0, 1, 1]


def test_lines_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study(tmp_path)
    board = Board(study)
    with board:
        name = study.name(begin(study))
        board.started(name)
        board.told(name)  # in the middle of its stretch: nothing to say
        study.running.clear()
        drive(study, stop_after=1)
        board.told(name)
        board.line("t: failed: [red]boom")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"{name}: started"
    assert said[1].startswith(f"{name}: epoch 1, mae ")
    assert said[2] == "t: failed: [red]boom"


def test_time_left_follows_the_pace_of_this_session(tmp_path: Path) -> None:
    drive(make_study(tmp_path), stop_after=2)
    study = make_study(tmp_path)
    board = Board(study)
    assert "left" not in board.headline()
    drive(study, stop_after=4)
    board._began -= 4 * 100.0
    left = round((study.space.expected().epochs - 6) * 100 / 60)
    assert f", {left} min left" in board.headline()
