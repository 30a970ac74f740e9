"""What a notice to leave (SIGTERM, SIGUSR1) does to a sweep's driver: one line and exit code 85."""

import signal
from types import FrameType

from lnln_dist.errors import PreemptedError

KEPT = "every trial keeps its checkpoint: go on with --resume"


def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 a signal handler
    """Ends whatever runs."""
    raise PreemptedError(f"told to leave; {KEPT}")


def stop_tune(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 a signal handler
    """Ends Ray Tune between two of its steps: it takes SIGUSR1 for an interruption."""
    signal.raise_signal(signal.SIGUSR1)
