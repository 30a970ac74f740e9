"""A torch profiler trace of chosen steps, for Perfetto (ui.perfetto.dev) or chrome://tracing."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from lnln_dist.files import PENDING, explain_os_errors

TRACED_RANKS = 8  # a trace takes tens of megabytes: only the first ranks write one


class StepProfiler:
    """Traces optimizer steps of one rank into ``RUN/profile/``.

    Args:
        folder: the run folder.
        steps: first step and the one to stop before; None traces nothing.
        rank: of this process.
    """

    def __init__(self, folder: Path, steps: tuple[int, int] | None, *, rank: int) -> None:
        self._folder = folder / "profile"
        self._steps = steps if rank < TRACED_RANKS else None
        self._rank = rank
        self._active: profile | None = None
        self._begin = 0

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Wraps optimizer step ``number``, counted from 0; the trace is written after the last.

        Raises:
            UserError: the trace cannot be written.
        """
        if self._steps is None:
            yield
            return
        start, stop = self._steps
        if self._active is None and start <= number < stop:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._active = profile(activities=activities, record_shapes=True, profile_memory=True)
            self._active.start()
            self._begin = number
        yield
        if self._active is not None and number + 1 == stop:
            self._write(stop)

    def close(self, number: int) -> None:
        """Writes what was traced if the run ends at step ``number``, before the last one."""
        if self._active is not None:
            self._write(number)

    def _write(self, stop: int) -> None:
        active, self._active = self._active, None
        assert active is not None
        active.stop()
        name = f"steps-{self._begin}-{stop}-rank-{self._rank}.pt.trace.json"
        with explain_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            # The profiler reports a full disk on its own streams only: look at what it wrote.
            pending = self._folder / f"{PENDING}{name}"
            active.export_chrome_trace(str(pending))
            pending.rename(self._folder / name)
