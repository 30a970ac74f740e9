"""Records read from run folders."""

import json
import math
from pathlib import Path

import pytest

from lnln_dist.errors import UserError
from lnln_dist.sweep.records import (
    NOTE,
    Epoch,
    Note,
    Record,
    Trained,
    newest_state,
    read_epochs,
    read_records,
)


def line(epoch: int, mae: float | None, *, step: int | None = None) -> str:
    row = {"kind": "score", "step": step or epoch * 10, "time": 5.0, "epoch": epoch}
    return json.dumps({**row, "valid/mae/mean": mae, "valid/mae/r0.5": 9.0}) + "\n"


def write_run(folder: Path, *lines: str, step: int | None = None, finished: bool = False) -> None:
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(lines))
    if step is not None:
        checkpoint = folder / "checkpoints" / f"step-{step:08d}"
        checkpoint.mkdir(parents=True)
        state = {"state": {"step": step, "finished": finished}}
        (checkpoint / "state.json").write_text(json.dumps(state))


def test_scores_are_the_means_over_the_grid(tmp_path: Path) -> None:
    write_run(tmp_path / "t", '{"kind": "train", "step": 5}\n', line(1, 1.5), line(2, None))
    first, second = read_epochs(tmp_path / "t")
    assert first == Epoch(1, 10, 5.0, {"mae": 1.5})
    assert math.isnan(second.scores["mae"])
    assert read_epochs(tmp_path / "nothing") == []


def test_a_line_cut_short_and_a_repeated_epoch(tmp_path: Path) -> None:
    write_run(tmp_path / "t", line(1, 1.5), line(1, 1.25), line(2, 1.0)[:-9])
    assert [row.scores["mae"] for row in read_epochs(tmp_path / "t")] == [1.25]


def test_the_tags_are_the_writers() -> None:
    pytest.importorskip("torch")
    from lnln_dist.monitor.writer import mean_tag, rate_tag
    from lnln_dist.sweep.records import _MEAN

    assert _MEAN.match(mean_tag("valid", "acc2_non0"))[1] == "acc2_non0"
    assert _MEAN.match(rate_tag("valid", "mae", 0.5)) is None


def test_progress_is_the_best_so_far_in_either_direction() -> None:
    rows = [Epoch(i + 1, i, 0.0, {"m": v}) for i, v in enumerate([3.0, math.nan, 2.0, 5.0])]
    record = Record(epochs=rows)
    assert record.progress("m", -1).costs == (3.0, 3.0, 2.0, 2.0)
    assert record.progress("m", 1).costs == (-3.0, -3.0, -3.0, -5.0)
    undefined = Record(epochs=[Epoch(1, 1, 0.0, {"m": math.nan})])
    assert undefined.progress("m", 1).costs == (math.inf,)
    assert Record(note=Note(failure="x")).progress("m", 1).failed
    assert Record(note=Note(stopped=True)).progress("m", 1).finished


def test_only_what_a_checkpoint_holds_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "a", line(1, 1.0), line(2, 0.9), line(3, 0.8), step=20)
    write_run(tmp_path / "b", line(1, 1.0))  # killed before its first checkpoint
    write_run(tmp_path / "c", line(1, 1.0), line(2, 0.9), step=20, finished=True)
    Record(note=Note(finished=True)).save(tmp_path / "a")
    records = read_records(tmp_path, ["a", "b", "c", "d"])
    assert [len(records[n].epochs) for n in "abcd"] == [2, 0, 2, 0]
    # The checkpoint knows better than a note whose trial was started again.
    assert [records[n].finished for n in "abcd"] == [False, False, True, False]


def test_checkpoints_removed_on_purpose_leave_the_scores(tmp_path: Path) -> None:
    write_run(tmp_path / "a", line(1, 1.0), line(2, 0.9))
    Record(note=Note(finished=True, pruned=True)).save(tmp_path / "a")
    record = read_records(tmp_path, ["a"])["a"]
    assert (len(record.epochs), record.finished) == (2, True)
    # Trained again, it has reached nothing until it has a checkpoint.
    Record(note=Note(finished=True)).save(tmp_path / "a")
    record = read_records(tmp_path, ["a"])["a"]
    assert (len(record.epochs), record.finished) == (0, False)


def test_what_a_note_says_is_read_again(tmp_path: Path) -> None:
    stretch = Trained(start=0, epoch=2, wall_s=3.5, train_s=2.0, host="b", pid=7)
    note = Note(failure="boom", losses=2, stretches=[stretch, stretch])
    Record(note=note).save(tmp_path / "a")
    record = read_records(tmp_path, ["a"])["a"]
    assert record.note == note
    (tmp_path / "a" / NOTE).write_text('{"losses": "many"}')
    with pytest.raises(UserError, match=r"trial.json: damaged \(losses: .* integer.*\): remove it"):
        read_records(tmp_path, ["a"])


def test_newest_state_skips_a_damaged_note(tmp_path: Path) -> None:
    write_run(tmp_path / "t", step=10)
    torn = tmp_path / "t" / "checkpoints" / "step-00000020"
    torn.mkdir()
    (torn / "state.json").write_text("{")
    assert newest_state(tmp_path / "t") == {"step": 10, "finished": False}
    assert newest_state(tmp_path) is None


def test_an_unreadable_log_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_epochs(tmp_path)


@pytest.mark.parametrize(
    "wrong", [line(1, 1.0).replace('"epoch"', '"x"'), line(1, 1.0).replace("1.0", '"?"')]
)
def test_a_damaged_score_is_named(tmp_path: Path, wrong: str) -> None:
    write_run(tmp_path / "t", wrong)
    with pytest.raises(UserError, match=r"log.jsonl: the line .* is damaged"):
        read_epochs(tmp_path / "t")
