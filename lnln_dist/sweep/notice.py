"""A notice to leave (SIGTERM, SIGUSR1) to a sweep's driver: one line and exit code 85."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from lnln_dist.errors import PreemptedError

NOTICES = (signal.SIGTERM, signal.SIGUSR1)
KEPT = "every trial keeps its checkpoint: go on with --resume"
Handler = Callable[[int, FrameType | None], None]


def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 a signal handler
    """Ends whatever runs."""
    raise PreemptedError(f"told to leave; {KEPT}")


def stop_tune(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 a signal handler
    """Ends Ray Tune between two of its steps: it takes SIGUSR1 for an interruption."""
    signal.raise_signal(signal.SIGUSR1)


@contextlib.contextmanager
def on_notice(handler: Handler, numbers: Sequence[signal.Signals] = NOTICES) -> Iterator[None]:
    """Hears the notices within the block; without effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
