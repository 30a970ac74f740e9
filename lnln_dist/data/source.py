"""Paths and URIs: feature files from anywhere fsspec reaches, shards from this machine only."""

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from lnln_dist.errors import DataError


class HashedFile(io.RawIOBase):
    """A file that is hashed while it is read.

    Args:
        inner: the file; it stays the caller's to close.
    """

    def __init__(self, inner: BinaryIO) -> None:
        self._inner, self._hash, self.size = inner, hashlib.sha256(), 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; returns the number of bytes read."""
        view = memoryview(buffer)
        count: int = cast("Any", self._inner).readinto(view)
        self._hash.update(view[:count])
        self.size += count
        return count

    def finish(self) -> str:
        """Reads what is left and returns the SHA-256 of the whole file as hex digits."""
        block = bytearray(1 << 20)
        while self.readinto(block):
            pass
        return self._hash.hexdigest()


def local_path(path: str | Path) -> Path | None:
    """The local path meant by a path or a ``file://`` URI; None for any other URI."""
    text = str(path)
    if "://" not in text:
        return Path(text).expanduser()
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return None


def local_only(path: str | Path, *, what: str) -> Path:
    """The local path meant, or an error that says to copy it here.

    Raises:
        DataError: it is on another machine.
    """
    local = local_path(path)
    if local is None:
        raise DataError(f"{path}: {what} must be on this machine (memory-mapped): copy it first")
    return local


@contextlib.contextmanager
def open_source(source: str | Path) -> Iterator[BinaryIO]:
    """Opens a feature file for reading; ``file://``, ``s3://``, ``gs://``, ``hf://`` and others.

    Raises:
        DataError: it does not exist, is a folder, cannot be read, or needs a missing package.
    """
    local = local_path(source)
    with contextlib.ExitStack() as stack:
        try:
            if local is not None:
                file: BinaryIO = stack.enter_context(local.open("rb"))
            else:
                import fsspec

                file = stack.enter_context(fsspec.open(str(source), "rb").open())
        except FileNotFoundError as err:
            raise DataError(f"{source}: no such file") from err
        except IsADirectoryError as err:
            raise DataError(f"{source}: a folder; give the feature file itself (.pkl)") from err
        except OSError as err:
            raise DataError(f"{source}: cannot be read ({err.strerror or err})") from err
        # A missing package, or of a file system errors of its own.
        except Exception as err:
            why = (str(err).strip().splitlines() or [type(err).__name__])[0]
            raise DataError(
                f"{source}: cannot be opened ({why}); or copy it to this machine"
            ) from err
        yield file
