"""A running sweep on the terminal: a live table, or plain lines where there is no terminal."""

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lnln_dist.sweep.director import Director
from lnln_dist.sweep.estimate import Cost
from lnln_dist.sweep.records import Record

SHOWN = 16  # running trials listed


def left_s(director: Director, expected: Cost, began: float, spent_before: int) -> float | None:
    """Seconds until the sweep ends, from the pace of this session; None: no pace yet."""
    done = sum(len(r.epochs) for r in director.records.values())
    new = done - spent_before
    if new <= 0:
        return None
    return max(0.0, expected.epochs - done) * (time.time() - began) / new


def duration(seconds: float) -> str:
    """Such as ``1 h 05 min`` or ``42 s``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class Board:
    """Shows a director's sweep.

    Args:
        expected: the sweep's expected cost, for the time left.
    """

    def __init__(self, director: Director, expected: Cost) -> None:
        self._director = director
        self._expected = expected
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._began = time.time()
        self._before = sum(len(r.epochs) for r in director.records.values())
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=1, get_renderable=self.view)

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def line(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False)

    def ended(self, trial: str, record: Record) -> None:
        """Says how a stretch of a trial ended, where there is no live table to see it in."""
        if record.failure is not None:
            self.line(f"{trial}: failed: {record.failure}")
        elif not self._live:
            cost = record.progress(self._director.metric, self._director.direction).costs
            best = -self._director.direction * cost[-1] if cost else float("nan")
            done = "finished" if record.finished else f"epoch {len(record.epochs)}"
            self.line(f"{trial}: {done}, {self._director.metric} {best:.4f}; {self.headline()}")

    def headline(self) -> str:
        """Counts, epochs and time left in one line."""
        director = self._director
        records = director.records.values()
        finished = sum(r.finished for r in records)
        failed = sum(r.failure is not None for r in records)
        started = sum(bool(r.epochs) for r in records)
        spent = sum(len(r.epochs) for r in records)
        busy = len(director.running)
        parts = [f"{busy} running", f"{finished} finished"]
        parts.append(f"{max(0, started - finished - failed - busy)} held or stopped")
        if failed:
            parts.append(f"{failed} failed")
        parts.append(f"{spent} of about {max(spent, round(self._expected.epochs))} epochs")
        left = left_s(director, self._expected, self._began, self._before)
        if left is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def view(self) -> Group:
        """The live table."""
        director = self._director
        table = Table(box=None, pad_edge=False)
        for name in ("stage", "trial", "epoch", director.metric, "best", "running"):
            table.add_column(name, justify="left" if name in ("stage", "trial") else "right")
        now = time.time()
        for trial, run in list(director.running.items())[:SHOWN]:
            record = director.records[run.segment.name, run.segment.seed]
            epochs = record.epochs
            costs = record.progress(director.metric, director.direction).costs
            table.add_row(
                run.segment.stage,
                trial,
                f"{len(epochs)}/{run.segment.until}",
                f"{epochs[-1].scores[director.metric]:.4f}" if epochs else "",
                f"{-director.direction * costs[-1]:.4f}" if costs else "",
                duration(now - run.since),
            )
        return Group(Text(self.headline(), style="bold"), table)
