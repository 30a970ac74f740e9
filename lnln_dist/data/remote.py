"""Prepared data in object storage: copied once per host, checked, shared by all its processes.

The copy lies in ``LNLN_CACHE`` (default ``~/.cache/lnln_dist``) under the hash of its index, so
that other data at the same address is another copy. A copy that was cut goes on where it stopped.
"""

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from lnln_dist.data.schema import INDEX, Index, read_index
from lnln_dist.data.source import local_path
from lnln_dist.errors import DataError, TransientError
from lnln_dist.files import CACHE, atomic_write, cache_folder, explain_os_errors, sha256_file

_BLOCK = 8 << 20  # bytes asked for at once
_TRIES = 5  # of a file whose transfer is cut


def on_this_machine(path: str | Path) -> Path:
    """The folder of prepared data: a local path as it is, any other URI copied here first.

    Args:
        path: a folder, or its URI: ``file://``, ``s3://``, ``gs://`` or whatever fsspec opens.

    Raises:
        DataError: there is no prepared data, it is damaged, or the package for it is missing.
        TransientError: the transfer was cut again and again.
        UserError: no room or no right to write the copy.
    """
    local = local_path(path)
    return local if local is not None else _copied(str(path).rstrip("/"))


def _copied(uri: str) -> Path:
    place = _Place(uri)
    content = place.read(INDEX)
    target = cache_folder() / "shards" / hashlib.sha256(content).hexdigest()[:32]
    if target.is_dir():
        return target
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # One process of a host copies; the others wait here, however long it takes. The lock is
        # the system's: it falls with its holder.
        with FileLock(target.with_suffix(".lock"), fallback_to_soft=False):
            if not target.is_dir():
                _copy(place, content, target)
    return target


def _copy(place: "_Place", content: bytes, target: Path) -> None:
    part = target.with_suffix(".part")
    part.mkdir(exist_ok=True)
    atomic_write(part / INDEX, content)
    try:
        index = read_index(part)
    except DataError as err:
        shutil.rmtree(part)
        raise DataError(f"{place.uri}: {str(err).removeprefix(f'{part}/')}") from err
    files = _files(index)
    missing = {name: found for name, found in files.items() if not (part / name).is_file()}
    size = sum(shard.bytes for split in index.splits.values() for shard in split.shards)
    free = shutil.disk_usage(part).free
    there = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    if size - there > free:
        raise DataError(
            f"{place.uri}: {size / 1e9:.1f} GB do not fit into {part.parent} ({free / 1e9:.1f} GB "
            f"are free): set {CACHE} to a folder on a larger disk"
        )
    print(f"copying {place.uri} ({size / 1e6:.0f} MB) to {target}", file=sys.stderr, flush=True)
    for name, sha256 in missing.items():
        (part / name).parent.mkdir(exist_ok=True)
        place.fetch(name, part / name, sha256)
    part.rename(target)


def _files(index: Index) -> dict[str, str]:
    """Relative names and SHA-256 of all files that the index lists; none leaves the folder."""
    shards = (shard for split in index.splits.values() for shard in split.shards)
    found = {shard.file: shard.sha256 for shard in shards}
    folder = index.tokenizer.folder
    return found | {f"{folder}/{name}": sha256 for name, sha256 in index.tokenizer.files.items()}


class _Place:
    """A folder that fsspec reaches."""

    def __init__(self, uri: str) -> None:
        import fsspec

        self.uri = uri
        with self._explained():
            self._system, self._root = fsspec.core.url_to_fs(uri)

    @contextlib.contextmanager
    def _explained(self, name: str = "") -> Iterator[None]:
        where = f"{self.uri}/{name}" if name else self.uri
        try:
            yield
        except DataError:
            raise
        except FileNotFoundError as err:
            raise DataError(
                f"{where}: no such file: give the URI of a folder written by lnln-dist prepare"
            ) from err
        except (ImportError, ValueError) as err:  # no package for it, or nobody knows it
            raise DataError(f"{where}: cannot be opened ({err})") from err
        # Every file system raises errors of its own.
        except Exception as err:
            why = (str(err).strip().splitlines() or [type(err).__name__])[0]
            raise TransientError(f"{where}: cannot be read ({why:.200})") from err

    def read(self, name: str) -> bytes:
        """A small file, whole."""
        with self._explained(name):
            content: bytes = self._system.cat_file(f"{self._root}/{name}")
            return content

    def fetch(self, name: str, target: Path, sha256: str) -> None:
        """Copies a file, going on where an earlier copy stopped, and checks it."""
        pending = target.with_name(f"{target.name}.pending")
        for tried in range(1, _TRIES + 1):
            try:
                with self._explained(name):
                    self._append(name, pending)
                break
            except TransientError:
                if tried == _TRIES:
                    raise
        if sha256_file(pending) != sha256:
            pending.unlink()
            raise DataError(
                f"{self.uri}/{name}: damaged, its content is not what the index says (SHA-256 "
                "differs): upload it again"
            )
        pending.rename(target)

    def _append(self, name: str, pending: Path) -> None:
        remote = f"{self._root}/{name}"
        size = int(self._system.size(remote))
        with pending.open("ab") as file:
            if file.tell() > size:
                file.truncate(0)
            at = file.tell()
            while at < size:
                block: Any = self._system.cat_file(remote, start=at, end=min(at + _BLOCK, size))
                if not block:
                    raise EOFError(f"ends after {at} of {size} bytes")
                at += file.write(block)
            file.flush()
            os.fsync(file.fileno())
