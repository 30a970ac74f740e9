"""How commands end."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lnln_dist import console
from lnln_dist.errors import DataError, PreemptedError


def fail(argv: Sequence[str]) -> int:
    raise DataError(f"shard 3 is damaged {list(argv)}")


def test_a_user_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.finish(fail, ["a"]) == 2
    assert capsys.readouterr().err == "lnln-dist: error: shard 3 is damaged ['a']\n"


def test_debug_shows_the_traceback_and_is_not_passed_on() -> None:
    with pytest.raises(DataError, match=r"\['a'\]"):
        console.finish(fail, ["a", "--debug"])


def test_other_ranks_say_who_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    console.finish(fail, [])
    assert "[rank 3]" in capsys.readouterr().err


def test_an_interrupt_is_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: Sequence[str]) -> int:
        raise KeyboardInterrupt

    assert console.finish(interrupt, []) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_bug_is_not_hidden() -> None:
    def bug(_: Sequence[str]) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        console.finish(bug, [])


def test_success_is_zero() -> None:
    assert console.finish(lambda _: None, []) == 0


def test_a_preempted_run_is_exit_code_85_also_through_a_launcher(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def leave(_: Sequence[str]) -> int:
        raise PreemptedError("told to leave")

    assert console.finish(leave, []) == 85
    assert capsys.readouterr().err == "lnln-dist: told to leave\n"
    monkeypatch.setenv("LNLN_EXIT_FILE", str(tmp_path / "code"))
    assert console.finish(leave, []) == 85
    assert (tmp_path / "code").read_text() == "85\n"
    monkeypatch.setenv("LNLN_EXIT_FILE", str(tmp_path / "none" / "code"))
    assert console.finish(leave, []) == 85


def test_other_endings_tell_the_launcher_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LNLN_EXIT_FILE", str(tmp_path / "code"))
    assert console.finish(fail, []) == 2
    assert not (tmp_path / "code").exists()


def test_what_an_earlier_start_left_is_cleared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "code"
    monkeypatch.setenv("LNLN_EXIT_FILE", str(place))
    place.write_text("85\n")  # of ranks that were started again since
    assert console.finish(fail, []) == 2
    assert place.read_text() == ""
