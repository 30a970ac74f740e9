"""A running sweep on the terminal: a live table, or plain lines where there is no terminal."""

import itertools
import time
from collections import Counter
from types import TracebackType
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lnln_dist.sweep.director import Director
from lnln_dist.sweep.estimate import Cost
from lnln_dist.sweep.records import Record
from lnln_dist.sweep.trial import Job

SHOWN = 16  # running trials listed


def left_s(director: Director, expected: Cost, began: float, spent_before: int) -> float | None:
    """Seconds until the sweep ends, from the pace since it was started; None: no pace yet."""
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


class Counts(NamedTuple):
    """Trials that were begun, each counted once."""

    running: int
    finished: int
    held: int  # waiting for a decision, or for their turn to go on
    stopped: int  # their setting goes no further
    failed: int


def counts(director: Director) -> Counts:
    """Where the trials of a sweep stand."""
    running = {(r.segment.name, r.segment.seed) for r in director.running.values()}
    stopped = _stopped(director)
    found: Counter[str] = Counter(running=len(running))
    for key, record in director.records.items():
        if key in running:
            continue
        if record.failure is not None:
            found["failed"] += 1
        elif record.finished:
            found["finished"] += 1
        elif record.epochs:
            found["stopped" if key[0] in stopped else "held"] += 1
    return Counts(*(found[name] for name in Counts._fields))


def _stopped(director: Director) -> set[str]:
    """Settings that were passed over: by a rung, by the choice of the best, or for a failure."""
    plan, sweep = director.plan, director.space.sweep
    out = set()
    for made in director.space.settings:
        screening = [director.records[made.name, s] for s in sweep.seeds[: sweep.screen.seeds]]
        failed = any(record.failure is not None for record in screening)
        if (failed or made.stratum in plan.decided) and not plan.verdicts[made.name].chosen:
            out.add(made.name)
    for rungs in itertools.chain.from_iterable(plan.rungs.values()):
        for rung, above in itertools.pairwise(rungs):
            if rung.over:
                out |= set(rung.names) - set(above.names)
    return out


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

    def started(self, job: Job) -> None:
        """Says that a stretch was handed out, where there is no live table to see it in."""
        if not self._live:
            self.line(f"{job.trial}: started, to epoch {job.until}")

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
        spent = sum(len(r.epochs) for r in director.records.values())
        found = counts(director)._asdict()
        parts = [f"{count} {name}" for name, count in found.items() if count or name != "failed"]
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
