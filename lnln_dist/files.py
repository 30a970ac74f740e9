"""Folders and files that appear whole or not at all."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lnln_dist.errors import StorageError, TransientError, UserError

LOCK = ".lock"  # held while a run is trained; the system frees it when the process dies
PENDING = ".pending-"  # name part of everything that is not finished; never picked up by readers

CACHE = "LNLN_CACHE"  # environment variable: a folder on a disk of this host

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # a file system without them
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def cache_folder() -> Path:
    """Where copies and model files of this host lie."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "lnln_dist").expanduser()


@contextlib.contextmanager
def held(folder: Path, *, wait_s: float) -> Iterator[None]:
    """Keeps other processes, on other hosts too, from training in ``folder``.

    On a file system without locks nothing is held.

    Args:
        folder: a run folder that exists.
        wait_s: for whoever holds it to be gone.

    Raises:
        TransientError: it is held by another process.
    """
    with _locked(
        folder / LOCK,
        wait_s=wait_s,
        problem=f"{folder} is being trained by another process: wait for it or choose another "
        "--output",
    ):
        yield


@contextlib.contextmanager
def _locked(path: Path, *, wait_s: float, problem: str) -> Iterator[bool]:
    """Holds a lock file; yields whether the file system has locks, else nothing is held."""
    # The library's fallback leaves a file behind when its holder is killed: held for ever.
    lock, locks = FileLock(path, fallback_to_soft=False), True
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise TransientError(problem) from None
    except (NotImplementedError, OSError) as err:
        if isinstance(err, OSError) and err.errno not in NO_LOCKS:
            raise
        locks = False
    try:
        yield locks
    finally:
        lock.release()


@contextlib.contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keeps other processes from writing ``target``, and removes what killed ones left beside it.

    A folder that one of them had moved aside, and not yet replaced, is put back first.

    Raises:
        UserError: another process is writing it, or the place cannot be written to.
    """
    place = target.parent / f"{PENDING}{target.name}.lock"
    with contextlib.ExitStack() as stack:
        with explain_os_errors(target):
            if target.parent.is_file():
                raise OSError(errno.ENOTDIR, "not a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            problem = f"{target} is being written by another process: wait for it"
            locks = stack.enter_context(_locked(place, wait_s=0, problem=problem))
            if locks:
                stack.callback(place.unlink, missing_ok=True)
                _clear(target)
        yield


def _clear(target: Path) -> None:
    pending = re.compile(re.escape(f"{PENDING}{target.name}") + r"-\d+-[0-9a-f]{8}(-old)?")
    left = [path for path in target.parent.iterdir() if pending.fullmatch(path.name)]
    for path in sorted(left, key=lambda path: path.name.endswith("-old"), reverse=True):
        if path.name.endswith("-old") and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)


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
        kind = StorageError if err.errno in _NO_ROOM else UserError
        raise kind(f"cannot write {target}: {hint}") from err


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
