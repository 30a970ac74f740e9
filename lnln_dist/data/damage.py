"""Data that are cut short under a process that reads them: who is left names the shard."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from lnln_dist.errors import DataError

# A shell that waits for a word, and looks at the data if this process dies without having said it.
WITNESS = """trap '' TERM INT USR1 HUP; read -r word || exec "$0" -c "$1" "$2" >&2"""
LOOK = """import sys
from lnln_dist.data.damage import find_damage
if damage := find_damage(sys.argv[1]):
    print("lnln-dist: error:", damage)"""


def find_damage(path: str | Path) -> str:
    """What is wrong with prepared data as far as ``open_dataset`` tells; empty if nothing is.

    A process that reads a mapped shard which was cut short under it ends by a bare bus error:
    whoever is left asks this.
    """
    from lnln_dist.data.shards import open_dataset  # arguments are read before pyarrow is

    try:
        open_dataset(path)
    except DataError as err:
        return str(err)
    return ""


@contextmanager
def witnessed(data: str) -> Iterator[None]:
    """Should this process die within the block, says whether its data were cut short under it.

    Reading a mapped shard behind its end kills a process by a bus error (exit 135), which no
    handler of its own can outlive; so a shell waits beside it, for the end of a pipe.
    """
    command = ["/bin/sh", "-c", WITNESS, sys.executable, LOOK, data]
    shell = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)  # noqa: S603 nothing of a user's runs
    stdin = cast(IO[bytes], shell.stdin)
    try:
        yield
    finally:
        # Once a loader's worker has died, torch raises at every child's end, at this shell's too.
        with suppress(RuntimeError, BrokenPipeError):
            stdin.write(b"done\n")
        with suppress(RuntimeError):
            stdin.close()
        while shell.returncode is None:
            with suppress(RuntimeError):
                shell.wait()


@contextmanager
def explain_damaged_data(data: str) -> Iterator[None]:
    """Turns what a loader's worker dies of into a ``DataError``, if its data were cut short."""
    try:
        yield
    except (RuntimeError, DataError) as err:
        if damage := find_damage(data):
            raise DataError(damage) from err
        raise
