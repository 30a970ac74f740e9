"""Ranks whose launcher was killed leave by themselves: nobody else would end them."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lnln_dist.train.preemption import Notice

LAUNCHER = "TORCHELASTIC_RUN_ID"  # set for ranks that accelerate launch or torchrun started
POLL_S = 0.5
GRACE_S = 100.0  # for the step under way and its checkpoint


def _exit() -> None:
    os._exit(1)


def _parent() -> int:
    return os.getppid()


def _launcher() -> int:
    """The parent's process id, or 0 if it has died by now and init took its place."""
    parent = _parent()
    if parent != 1:
        return parent
    try:
        command = Path("/proc/1/cmdline").read_bytes()
    except OSError:
        return parent
    # In a container the launcher may be the first process itself.
    return parent if b"python" in command else 0


@contextmanager
def watching_launcher(
    notice: Notice,
    *,
    environment: Mapping[str, str] = os.environ,
    leave: Callable[[], None] = _exit,
) -> Iterator[None]:
    """Within the block, takes the death of the launcher for being told to leave.

    The launcher starts ranks in sessions of their own. Killed by -9, it takes none of them along:
    they would train on, and keep devices and run folder from the run that is to go on.

    Args:
        notice: given, from another thread, when the launcher is gone.
        environment: tells whether there is a launcher; without one nothing is watched.
        leave: called if the block has not ended ``GRACE_S`` later, as in a collective that nobody
            joins any more; at once before the ranks have met, when there is nothing to save. What
            is committed stays; nothing is ever half-written.
    """
    if LAUNCHER not in environment:
        yield
        return
    launcher, over = _launcher(), threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            if _parent() != launcher:
                notice.give()
                if not over.wait(GRACE_S if notice.at_work else 0):
                    leave()
                return

    thread = threading.Thread(target=watch, name="launcher-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
