"""Folders and files that appear whole or not at all."""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from lnln_dist.errors import UserError

PENDING = ".pending-"  # name part of everything that is not finished; never picked up by readers


@contextlib.contextmanager
def explain_os_errors(target: Path) -> Iterator[None]:
    """Turns a full disk, a read-only folder and the like into a one-line ``UserError``."""
    try:
        yield
    except OSError as err:
        hints = {
            errno.ENOSPC: "the disk is full: free some space or choose another folder",
            errno.EDQUOT: "your disk quota is used up: free some space or choose another folder",
            errno.EACCES: "no permission to write there: choose another folder or change its owner",
            errno.EROFS: "that file system is read-only: choose another folder",
            errno.EEXIST: "a file, not a folder, has that name: choose another path",
            errno.ENOTDIR: "a part of that path is a file, not a folder: choose another path",
        }
        hint = hints.get(err.errno or 0, os.strerror(err.errno) if err.errno else str(err))
        raise UserError(f"cannot write {target}: {hint}") from err


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flushes a folder's files, then its folders, to the disk."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(root) / name)
        _sync(Path(root))


@contextlib.contextmanager
def atomic_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a pending folder beside ``target`` that takes its name only on success.

    Args:
        target: the folder that must not exist yet unless ``overwrite``.
        overwrite: move an existing ``target`` away just before the new one takes its place.

    Raises:
        UserError: ``target`` exists, or cannot be written (the disk is full, ...).
    """
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists: choose another folder, remove it or pass --overwrite")
    pending = target.with_name(f"{PENDING}{target.name}-{os.getpid()}-{secrets.token_hex(4)}")
    with explain_os_errors(target):
        try:
            pending.mkdir(parents=True)
            yield pending
            sync_tree(pending)
            if target.exists():
                old = pending.with_name(pending.name + "-old")
                target.rename(old)
                pending.rename(target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                pending.rename(target)
            _sync(target.parent)
        finally:
            shutil.rmtree(pending, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(target: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yields a path beside ``target`` to write to; it takes the name only on success.

    Args:
        target: the file to write; folders above it are made.
        overwrite: replace an existing file.

    Raises:
        UserError: ``target`` exists and must not be replaced, or cannot be written.
    """
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists: choose another file, remove it or pass --overwrite")
    pending = target.with_name(f"{PENDING}{target.name}-{os.getpid()}-{secrets.token_hex(4)}")
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield pending
            _sync(pending)
            pending.rename(target)
            _sync(target.parent)
        finally:
            pending.unlink(missing_ok=True)


def atomic_write(target: Path, content: str | bytes) -> None:
    """Writes a file aside, flushes it and renames it over ``target``."""
    with atomic_file(target) as pending:
        pending.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
