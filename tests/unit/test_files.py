"""Folders and files that appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from lnln_dist.errors import UserError
from lnln_dist.files import (
    PENDING,
    atomic_file,
    atomic_folder,
    atomic_write,
    explain_os_errors,
    sha256_file,
)


def left_behind(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(PENDING)]


def test_a_folder_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "out"
    with atomic_folder(target) as pending:
        (pending / "x").write_text("1")
        assert not target.exists()
    assert (target / "x").read_text() == "1"
    assert left_behind(target.parent) == []


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(RuntimeError, match="boom"), atomic_folder(target) as pending:
        (pending / "x").write_text("1")
        raise RuntimeError("boom")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_unless_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(UserError, match="--overwrite"), atomic_folder(target):
        pass
    with atomic_folder(target, overwrite=True) as pending:
        (pending / "new").write_text("2")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert left_behind(tmp_path) == []


def test_a_failed_overwrite_keeps_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(target, overwrite=True):
        raise RuntimeError("boom")
    assert (target / "old").read_text() == "1"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "no permission"), (errno.EROFS, "read-only")],
)
def test_os_errors_say_what_to_do(number: int, expected: str) -> None:
    with (
        pytest.raises(UserError, match=f"cannot write /x: .*{expected}"),
        explain_os_errors(Path("/x")),
    ):
        raise OSError(number, os.strerror(number))


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file, not a folder"):
        atomic_write(tmp_path / "file" / "x", "1")


def test_atomic_write_replaces_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x"
    atomic_write(target, "one")
    atomic_write(target, b"two")
    assert target.read_text() == "two"
    assert left_behind(tmp_path) == []


def test_an_interrupted_file_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(target) as pending:
        pending.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert left_behind(tmp_path) == []


def test_an_existing_file_is_refused_on_request(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("old")
    with (
        pytest.raises(UserError, match=r"x exists: .*--overwrite"),
        atomic_file(target, overwrite=False) as pending,
    ):
        pending.write_text("new")
    assert target.read_text() == "old"


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x").startswith("ba7816bf8f01cfea414140de5dae2223")
