"""A running sweep on the terminal: a live table, or plain lines where there is no terminal."""

import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lnln_dist.sweep.state import Key, Study

SHOWN = 16  # running trials listed


def duration(seconds: float) -> str:
    """Such as ``1 h 05 min`` or ``42 s``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def counts(study: Study) -> dict[str, int]:
    """How many of the trials that were begun are in each state."""
    found = dict.fromkeys(("running", "finished", "held", "stopped", "failed"), 0)
    found["running"] = len(study.running)
    passed_over = study.passed_over
    for key, record in study.records.items():
        if key in study.running:
            continue
        if record.failure is not None:
            found["failed"] += 1
        elif record.finished:
            found["finished"] += 1
        elif record.epochs:
            # Held: it waits for a decision, or for its turn. Stopped: its setting goes no further.
            found["stopped" if key[0] in passed_over else "held"] += 1
    return found


class Board:
    """Shows a study."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._expected = study.space.expected()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._began = time.time()
        self._before = study.epochs
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=1, get_renderable=self.view)

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def line(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False)

    def started(self, trial: str) -> None:
        """Says that a worker has a trial, where there is no live table to see it in."""
        if not self._live:
            self.line(f"{trial}: started")

    def told(self, trial: str, *, ended: bool = False) -> None:
        """Says what a trial's stretch has come to, or that it is through, as ``started``."""
        study = self._study
        key = next(key for key in study.records if study.name(key) == trial)
        record = study.records[key]
        if not self._live and (record.finished if ended else key not in study.running):
            word = "finished" if ended else f"epoch {len(record.epochs)}"
            self.line(f"{trial}: {word}, {study.metric} {self._best(key)}; {self.headline()}")

    def _best(self, key: Key) -> str:
        study = self._study
        costs = study.records[key].progress(study.metric, study.direction).costs
        return f"{-study.direction * costs[-1]:.4f}" if costs else ""

    def headline(self) -> str:
        """Counts, epochs and time left in one line."""
        study = self._study
        spent = study.epochs
        found = counts(study).items()
        parts = [f"{count} {name}" for name, count in found if count or name != "failed"]
        parts.append(f"{spent} of about {max(spent, round(self._expected.epochs))} epochs")
        if new := spent - self._before:
            pace = (time.time() - self._began) / new
            parts.append(f"{duration(max(0.0, self._expected.epochs - spent) * pace)} left")
        return ", ".join(parts)

    def view(self) -> Group:
        """The live table."""
        study = self._study
        table = Table(box=None, pad_edge=False)
        for name in ("stage", "trial", "epoch", study.metric, "best", "running"):
            table.add_column(name, justify="left" if name in ("stage", "trial") else "right")
        now = time.time()
        for key, run in list(study.running.items())[:SHOWN]:
            epochs = study.records[key].epochs
            table.add_row(
                run.stretch.stage,
                study.name(key),
                f"{len(epochs)}/{run.stretch.until}",
                f"{epochs[-1].scores[study.metric]:.4f}" if epochs else "",
                self._best(key),
                duration(now - run.since),
            )
        return Group(Text(self.headline(), style="bold"), table)
