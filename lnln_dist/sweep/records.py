"""What the trials of a sweep have reached, read from their run folders; no torch, no Ray.

A run folder's own log and checkpoints are the truth. The sweep's ledger adds what a run folder
cannot know: failures, where and how long a trial ran, that its checkpoints were removed on purpose.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lnln_dist.errors import UserError
from lnln_dist.files import explain_os_errors
from lnln_dist.sweep.planner import Progress

_MEAN = re.compile(r"^[^/]+/([^/]+)/mean$")  # monitor.writer.mean_tag
Event = Literal["session", "start", "lost", "end", "failed", "retry", "pruned", "exhausted"]


# What a line of the ledger cannot do without; a line of an unknown kind lacks its event.
_NEEDED: dict[str, tuple[str, ...]] = {
    "session": (),
    "start": ("trial",),
    "lost": ("trial",),
    "end": ("trial", "finished", "wall_s", "train_s", "host"),
    "failed": ("trial", "reason"),
    "retry": ("trial",),
    "pruned": ("trial",),
    "exhausted": ("stratum",),
}


class Epoch(NamedTuple):
    """One report of a trial."""

    epoch: int  # from 1
    step: int
    time: float  # seconds since 1970
    scores: Mapping[str, float]  # metric -> mean over the noise grid; nan: not defined


@dataclass
class Record:
    """One trial."""

    epochs: list[Epoch] = field(default_factory=list)
    finished: bool = False
    """Trained to its last epoch, or ended by its own patience."""
    failure: str | None = None
    wall_s: float = 0.0
    """Time from handing it to a worker to hearing the outcome."""
    train_s: float = 0.0
    """Of that, time in the training program."""
    segments: int = 0
    losses: int = 0
    """Times its process or node died under it."""
    hosts: set[str] = field(default_factory=set)

    def progress(self, metric: str, direction: int) -> Progress:
        """Its best objective so far after each epoch, smaller being better."""
        costs: list[float] = []
        for row in self.epochs:
            score = row.scores.get(metric, math.nan)
            cost = math.inf if math.isnan(score) else -direction * score
            costs.append(min(cost, costs[-1]) if costs else cost)
        return Progress(tuple(costs), self.finished, self.failure is not None)


class Ledger:
    """``events.jsonl`` of a sweep: one line per event, appended by the driver alone."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events.jsonl"

    def write(self, event: Event, time: float, **more: Any) -> None:
        """Appends one line."""
        line = json.dumps({"event": event, "time": round(time, 3), **more})
        with explain_os_errors(self.path), self.path.open("ab+") as handle:
            if handle.tell():
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":  # a kill cut the line before short
                    line = "\n" + line
            handle.write((line + "\n").encode())

    def read(self, event: Event | None = None) -> list[dict[str, Any]]:
        """All whole lines, or those of one event; one cut short by a kill is left out."""
        if not self.path.exists():
            return []
        lines = list(_json_lines(self.path))
        for line in lines:
            missing = [k for k in _NEEDED.get(line.get("event", ""), ("event",)) if k not in line]
            if missing:
                raise UserError(
                    f"{self.path}: the line {json.dumps(line)[:120]} is damaged (it lacks "
                    f"{', '.join(missing)}): remove it, or put the file back from a copy"
                )
        return [line for line in lines if event in (None, line["event"])]


def _json_lines(path: Path) -> Iterable[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise UserError(f"{path}: cannot be read ({err})") from err
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def read_epochs(run: Path) -> list[Epoch]:
    """The score lines of a run's log, in order."""
    path = run / "log.jsonl"
    if not path.exists():
        return []
    rows: dict[int, Epoch] = {}
    for line in _json_lines(path):
        if line.get("kind") != "score":
            continue
        try:
            row = _epoch(line)
        except (KeyError, TypeError, ValueError) as err:
            raise UserError(
                f"{path}: the line {json.dumps(line)[:120]} is damaged ({err!r}): remove it; the "
                "epoch counts again once its trial has trained it again"
            ) from err
        rows[row.epoch] = row
    return [rows[epoch] for epoch in sorted(rows)]


def _epoch(line: Mapping[str, Any]) -> Epoch:
    scores = {
        found[1]: math.nan if value is None else float(value)
        for tag, value in line.items()
        if (found := _MEAN.match(tag))
    }
    return Epoch(int(line["epoch"]), int(line["step"]), float(line["time"]), scores)


def newest_state(run: Path) -> dict[str, Any] | None:
    """``state`` of the newest checkpoint, or None where there is none."""
    for path in sorted((run / "checkpoints").glob("step-*/state.json"), reverse=True):
        try:
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["state"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return state
    return None


def read_records(trials: Path, names: Iterable[str], events: Iterable[dict[str, Any]]) -> dict[
    str, Record
]:  # fmt: skip
    """What each named trial has reached; epochs after its newest checkpoint do not count.

    Args:
        trials: the folder of run folders.
        events: lines of the ledger, oldest first.
    """
    wanted = set(names)
    records = {name: Record() for name in wanted}
    pruned: set[str] = set()
    for event in events:
        name = event.get("trial")
        if name in wanted:
            _apply(records[name], event)
            if event["event"] in ("pruned", "start"):
                (pruned.add if event["event"] == "pruned" else pruned.discard)(name)
    for name, record in records.items():
        take_committed(record, trials / name, pruned=name in pruned)
    return records


def take_committed(record: Record, run: Path, *, pruned: bool = False) -> None:
    """Takes what a run folder's checkpoints hold for what the trial has reached.

    Args:
        pruned: its checkpoints were removed on purpose, so that the log alone counts.
    """
    state = newest_state(run)
    epochs = read_epochs(run)
    if state is not None:
        record.finished = bool(state["finished"])
        epochs = [row for row in epochs if row.step <= state["step"]]
    elif not pruned:
        epochs = []
    record.epochs = epochs
    record.finished = record.finished and bool(epochs)


def _apply(record: Record, event: Mapping[str, Any]) -> None:
    kind: str = event["event"]
    if kind == "end":
        record.finished = bool(event["finished"])
        record.wall_s += event["wall_s"]
        record.train_s += event["train_s"]
        record.segments += 1
        record.hosts.add(event["host"])
    elif kind == "lost":
        record.losses += 1
        record.wall_s += event.get("wall_s", 0.0)
    elif kind == "failed":
        record.failure = str(event["reason"])
    elif kind == "retry":
        record.failure = None
