"""Being told to leave: SIGTERM and SIGUSR1 end a run at the next step, checkpoint written."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Notice:
    """Whether this process was told to leave; set by a signal handler, read between steps."""

    def __init__(self) -> None:
        self.given = False
        self.at_work = False
        """Whether the ranks have met: from then on leaving is something they do together."""

    def give(self) -> None:
        """Tells it to leave."""
        self.given = True

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.give()

    @contextmanager
    def listening(self) -> Iterator["Notice"]:
        """Listens for ``SIGNALS`` within the block, then puts the old handlers back.

        Outside a main thread (a trial of a sweep) signals belong to somebody else: nothing is done.
        """
        old = {}
        try:
            for number in SIGNALS:
                old[number] = signal.signal(number, self._take)
        except ValueError:
            old.clear()
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
