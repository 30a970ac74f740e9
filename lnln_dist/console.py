"""How a command ends: a user's mistake is one line and exit code 2, never a traceback."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lnln_dist.errors import PreemptedError, UserError

EXIT_USER, EXIT_PREEMPTED, EXIT_INTERRUPTED = 2, 85, 130
EXIT_FILE = "LNLN_EXIT_FILE"


def finish(command: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int:
    """Runs a command; ``--debug`` anywhere in ``argv`` lets tracebacks through."""
    # torch is not loaded yet. Its threads would spin while they wait for each other, which on
    # shared cores can take ten times as long as the work itself.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _forget_notice()
    debug = "--debug" in argv
    rank = os.environ.get("RANK", "0")
    who = "lnln-dist" if rank == "0" else f"lnln-dist [rank {rank}]"
    try:
        return command([a for a in argv if a != "--debug"]) or 0
    except PreemptedError as err:
        print(f"{who}: {err}", file=sys.stderr)
        _tell_launcher(EXIT_PREEMPTED)
        return EXIT_PREEMPTED
    except UserError as err:
        if debug:
            raise
        print(f"{who}: error: {err}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        if debug:
            raise
        print(f"{who}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as err:
        if debug:
            raise
        print(
            f"{who}: error: out of memory: use a larger machine or a smaller batch", file=sys.stderr
        )
        raise SystemExit(EXIT_USER) from err


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 row``, ``2 rows``; the plural is given where it has no s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def _forget_notice() -> None:
    """Empties the file of ``_tell_launcher``: after an elastic restart it holds an old notice."""
    with contextlib.suppress(KeyError, OSError):
        os.truncate(os.environ[EXIT_FILE], 0)


def _tell_launcher(code: int) -> None:
    """Leaves the exit code where ``launch/*.sh`` look for it: Accelerate's launcher returns 1."""
    place = os.environ.get(EXIT_FILE)
    if place:
        with contextlib.suppress(OSError):
            Path(place).write_text(f"{code}\n", encoding="ascii")
