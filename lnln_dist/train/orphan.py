"""Ranks whose launcher was killed leave by themselves: nobody else would end them."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

LAUNCHER = "TORCHELASTIC_RUN_ID"  # set for ranks that accelerate launch or torchrun started
POLL_S = 0.5
GRACE_S = 100.0  # for the step under way and its checkpoint


def _exit() -> None:
    os._exit(1)


@contextmanager
def watching_launcher(
    give_notice: Callable[[], None],
    *,
    environment: Mapping[str, str] = os.environ,
    parent: Callable[[], int] = os.getppid,
    leave: Callable[[], None] = _exit,
) -> Iterator[None]:
    """Within the block, takes the death of the launcher for being told to leave.

    The launcher starts ranks in sessions of their own. Killed by -9, it takes none of them along:
    they would train on, and keep devices and run folder from the run that is to go on.

    Args:
        give_notice: called once, from another thread, when the launcher is gone.
        environment: tells whether there is a launcher; without one nothing is watched.
        parent: of this process.
        leave: called ``GRACE_S`` later if the block has not ended by then, as in a collective that
            nobody joins any more. What is committed stays; nothing is ever half-written.
    """
    if LAUNCHER not in environment:
        yield
        return
    launcher, over = parent(), threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            if parent() != launcher:
                give_notice()
                if not over.wait(GRACE_S):
                    leave()
                return

    thread = threading.Thread(target=watch, name="launcher-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
