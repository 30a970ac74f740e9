"""What a running sweep says on the terminal."""

from pathlib import Path

import pytest
from rich.console import Console
from sweep_standin import drive, make_director

from lnln_dist.sweep.estimate import estimate
from lnln_dist.sweep.live import Board, duration, left_s
from lnln_dist.sweep.records import Epoch


def test_durations() -> None:
    assert duration(42.4) == "42 s"
    assert duration(150) == "2 min"
    assert duration(3900) == "65 min"
    assert duration(3 * 3600 + 300) == "3 h 05 min"


def test_headline_and_table(tmp_path: Path) -> None:
    director = make_director(tmp_path)
    board = Board(director, estimate(director.space))
    drive(director, stop_after=20)
    job = director.next()
    assert job is not None
    director.heard(job.trial, Epoch(1, 1, 0.0, {"mae": 1.23456, "corr": 0.0}))
    console = Console(width=150, record=True)
    console.print(board.view())
    text = console.export_text()
    assert "1 running" in text
    assert "left" in text
    row = next(line for line in text.splitlines() if job.trial in line)
    assert row.split()[0] in ("screen", "confirm")
    director.gave_up(job.trial, "gone")
    assert "1 failed" in board.headline()


def test_lines_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    director = make_director(tmp_path)
    board = Board(director, estimate(director.space))
    with board:
        drive(director, stop_after=1)
        ((key, record),) = ((k, r) for k, r in director.records.items() if r.epochs)
        board.ended(f"{key[0]}_s{key[1]}", record)
        record.failure = "[red]boom"
        board.ended("t", record)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"{key[0]}_s{key[1]}: epoch 1, mae ")
    assert said[1] == "t: failed: [red]boom"


def test_time_left_follows_the_pace_of_this_session(tmp_path: Path) -> None:
    director = make_director(tmp_path)
    expected = estimate(director.space)
    assert left_s(director, expected, 0.0, 0) is None
    drive(director, stop_after=4)
    import time

    left = left_s(director, expected, time.time() - 8.0, 0)
    assert left == pytest.approx((expected.epochs - 4) * 2.0, rel=0.05)
