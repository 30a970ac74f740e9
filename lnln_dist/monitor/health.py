"""Speed of a run: samples per second, where a step's time goes, and which rank is the slowest."""

import contextlib
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch.profiler import record_function

T = TypeVar("T")
Phase = Literal["forward", "backward", "update"]
PHASES: tuple[Phase, ...] = ("forward", "backward", "update")
SHOWN_RANKS = 16  # with more of them, ranks have no tags of their own, only lines in the log


class Clock(Protocol):
    """Takes moments, and later tells the time between two of them."""

    def now(self) -> Any:
        """The present moment."""

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one moment to another."""


class HostClock:
    """The time of the process."""

    def now(self) -> float:
        """Seconds on the process's clock."""
        return time.perf_counter()

    def between(self, start: float, end: float) -> float:
        """Seconds between two of them."""
        return end - start


class DeviceClock:
    """The time of the GPU, which works through its queue long after the process filled it."""

    def now(self) -> torch.cuda.Event:
        """A mark in the GPU's queue."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Seconds between two marks; waits until the GPU has passed the second."""
        end.synchronize()
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1000


class Meter:
    """Times the steps between two log lines, on one rank.

    ``waiting`` wraps the loader, so that time spent waiting for data is told from computing;
    ``phase`` wraps what a step does. Gradients travel in the backward pass, so its time holds the
    communication that is not hidden; ``update`` holds the exchange of losses and the optimizer.

    Args:
        device: where the run computes; a GPU is timed by its own clock.
        peak_flops: operations per second the device can do at most, None if not known.
    """

    def __init__(
        self, *, device: torch.device | None = None, peak_flops: float | None = None
    ) -> None:
        on_gpu = device is not None and device.type == "cuda"
        self._clock: Clock = DeviceClock() if on_gpu else HostClock()
        self._peak = peak_flops
        self._start = time.perf_counter()
        self._reset()

    def _reset(self) -> None:
        self._wait = 0.0
        self._samples = 0
        self._steps = 0
        self._work = 0.0
        self._spans: list[tuple[Phase, Any, Any]] = []

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches, the time until each arrives counted as waiting."""
        source = iter(batches)
        while True:
            begin = time.perf_counter()
            try:
                with record_function("data wait"):
                    batch = next(source)
            except StopIteration:
                return
            self._wait += time.perf_counter() - begin
            yield batch

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Counts the time of the block as a part of the step; a profiler shows its name."""
        begin = self._clock.now()
        with record_function(name):
            yield
        self._spans.append((name, begin, self._clock.now()))

    def work(self, flops: float) -> None:
        """Counts floating-point operations this rank has to do for the model."""
        self._work += flops

    def step(self, samples: int) -> None:
        """Counts one optimizer step of ``samples`` global samples."""
        self._samples += samples
        self._steps += 1

    def pause(self, seconds: float) -> None:
        """Leaves out time that was not training, such as a validation."""
        self._start += seconds

    def read(self) -> dict[str, float]:
        """Speed since the last reading: samples/s, ms per step and phase, a share of waiting.

        ``speed/mfu`` (model FLOPs utilisation, a share of the peak) is there if work was counted
        and the peak is known.
        """
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        steps = max(1, self._steps)
        spent = dict.fromkeys(PHASES, 0.0)
        for name, begin, end in self._spans:
            spent[name] += self._clock.between(begin, end)
        values = {
            "speed/samples_per_s": self._samples / elapsed,
            "speed/step_ms": 1000 * elapsed / steps,
            "speed/data_wait_share": self._wait / elapsed,
            "speed/data_wait_ms": 1000 * self._wait / steps,
        }
        values |= {f"speed/{name}_ms": 1000 * value / steps for name, value in spent.items()}
        if self._peak and self._work:
            values["speed/mfu"] = self._work / elapsed / self._peak
        self._start = time.perf_counter()
        self._reset()
        return values


class Health(NamedTuple):
    """All ranks' readings of one log line."""

    values: dict[str, float]
    """For the writer: flat tags."""
    slowest_rank: int
    ranks: list[dict[str, float]]
    """For the JSON line: each rank's own numbers, in rank order."""


def over_ranks(readings: Sequence[Mapping[str, float]], peak_bytes: Sequence[int]) -> Health:
    """Joins ``Meter.read`` of all ranks, in rank order, with their memory peaks.

    Ranks that wait for one another take the same time for a step. The slowest one is told by
    what it does alone, without the others: waiting for data and the forward pass (which under
    ZeRO 3 and FSDP2 waits for the others' weights, too).

    Args:
        readings: one per rank.
        peak_bytes: most memory each rank held.
    """
    alone = [r["speed/data_wait_ms"] + r["speed/forward_ms"] for r in readings]
    slowest = max(range(len(alone)), key=alone.__getitem__)
    # Times are the slowest rank's; samples per second count all ranks' samples on each of them.
    values = {}
    for tag in readings[0]:
        own = [reading[tag] for reading in readings if tag in reading]
        values[tag] = min(own) if tag == "speed/samples_per_s" else max(own)
    if "speed/mfu" in values:
        values["speed/mfu"] = statistics.fmean(r.get("speed/mfu", 0.0) for r in readings)
    peaks = [peak / 2**30 for peak in peak_bytes]
    values["memory/peak_gib"] = max(peaks)
    ranks = [
        {tag.split("/")[1]: round(value, 4) for tag, value in reading.items()}
        | {"peak_gib": round(peak, 4)}
        for reading, peak in zip(readings, peaks, strict=True)
    ]
    if len(readings) > 1:
        middle = statistics.median(alone)
        values["ranks/slowest"] = float(slowest)
        values["ranks/slowest_over_median"] = alone[slowest] / middle if middle else 1.0
        for rank, own_ms in enumerate(alone if len(readings) <= SHOWN_RANKS else []):
            values[f"ranks/{rank}/alone_ms"] = own_ms
            values[f"ranks/{rank}/peak_gib"] = peaks[rank]
    return Health(values, slowest, ranks)
