"""Speed of a run: samples per second and where a step's time goes."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Meter:
    """Times the steps between two log lines.

    ``waiting`` wraps the loader, so that time spent waiting for data is told from computing.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._wait = 0.0
        self._samples = 0
        self._steps = 0

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches, the time until each arrives counted as waiting."""
        source = iter(batches)
        while True:
            begin = time.perf_counter()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._wait += time.perf_counter() - begin
            yield batch

    def step(self, samples: int) -> None:
        """Counts one optimizer step of ``samples`` global samples."""
        self._samples += samples
        self._steps += 1

    def pause(self, seconds: float) -> None:
        """Leaves out time that was not training, such as a validation."""
        self._start += seconds

    def read(self) -> dict[str, float]:
        """Speed since the last reading, in samples/s, ms per step and a share of waiting."""
        now = time.perf_counter()
        elapsed = max(now - self._start, 1e-9)
        values = {
            "speed/samples_per_s": self._samples / elapsed,
            "speed/step_ms": 1000 * elapsed / max(1, self._steps),
            "speed/data_wait_share": self._wait / elapsed,
        }
        self._start, self._wait, self._samples, self._steps = now, 0.0, 0, 0
        return values
