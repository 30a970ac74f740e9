"""What the trials of a sweep have reached, read from their run folders; no torch, no Ray.

A run folder's own log and checkpoints are the truth. ``trial.json`` in it adds what these cannot
know: failures, where and how long it was trained, that its checkpoints were removed on purpose. One
that began with another trial's weights has an ``origin.json``.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from lnln_dist.errors import UserError, one_line
from lnln_dist.files import atomic_write
from lnln_dist.sweep.planner import Progress

NOTE = "trial.json"
ORIGIN = "origin.json"
_MEAN = re.compile(r"^[^/]+/([^/]+)/mean$")  # monitor.writer.mean_tag


class Epoch(NamedTuple):
    """One report of a trial."""

    epoch: int  # from 1
    step: int
    time: float  # seconds since 1970
    scores: Mapping[str, float]  # metric -> mean over the noise grid; nan: not defined


class Trained(BaseModel):
    """One stay of a trial on a worker."""

    start: int
    """Epochs trained before."""
    epoch: int
    """Epochs trained after."""
    wall_s: float
    """From the decision to train it until the decision to end that."""
    train_s: float
    """Of that, time in the worker."""
    host: str = ""
    pid: int = 0


class Origin(BaseModel):
    """``origin.json``: whose weights a trial took over, and the settings it got with them."""

    pointer: dict[str, Any]
    """``run`` and ``epoch`` of the other, as Tune's checkpoint had them."""
    values: dict[str, Any]
    """Dotted settings."""


class Note(BaseModel):
    """``trial.json``, written by the driver alone."""

    model_config = ConfigDict(validate_assignment=True)

    finished: bool = False
    """Trained to its last epoch, or ended by its own patience."""
    failure: str | None = None
    stopped: bool = False
    """Ended by a scheduler of Ray's, which has no memory of its own."""
    pruned: bool = False
    """Its checkpoints were removed on purpose, so that its log alone counts."""
    losses: int = 0
    """Times its process or node died under it."""
    stretches: list[Trained] = []


@dataclass
class Record:
    """One trial."""

    epochs: list[Epoch] = field(default_factory=list)
    note: Note = field(default_factory=Note)

    @property
    def finished(self) -> bool:
        """Nothing is left to train."""
        return self.note.finished

    @property
    def failure(self) -> str | None:
        """Why it failed."""
        return self.note.failure

    def progress(self, metric: str, direction: int) -> Progress:
        """Its best objective so far after each epoch, smaller being better."""
        costs: list[float] = []
        for row in self.epochs:
            score = row.scores.get(metric, math.nan)
            cost = math.inf if math.isnan(score) else -direction * score
            costs.append(min(cost, costs[-1]) if costs else cost)
        ended = self.finished or self.note.stopped
        return Progress(tuple(costs), ended, self.failure is not None)

    def save(self, run: Path) -> None:
        """Writes the note."""
        run.mkdir(parents=True, exist_ok=True)
        atomic_write(run / NOTE, self.note.model_dump_json(exclude_defaults=True, indent=1) + "\n")

    def take_committed(self, run: Path) -> None:
        """Takes what a run folder's checkpoints hold for what the trial has reached."""
        state = newest_state(run)
        self.epochs = committed(run, state) if state or not self.note.pruned else read_epochs(run)
        if state is not None:
            self.note.finished = bool(state["finished"])
        self.note.finished = self.finished and bool(self.epochs)


def committed(run: Path, state: Mapping[str, Any] | None = None) -> list[Epoch]:
    """Epochs that the newest checkpoint of a run folder holds."""
    state = newest_state(run) if state is None else state
    return [] if state is None else [row for row in read_epochs(run) if row.step <= state["step"]]


def read_epochs(run: Path) -> list[Epoch]:
    """The score lines of a run's log, in order."""
    rows: dict[int, Epoch] = {}
    path = run / "log.jsonl"
    for line in json_lines(path):
        if line.get("kind") != "score":
            continue
        try:
            scores = {
                found[1]: math.nan if value is None else float(value)
                for tag, value in line.items()
                if (found := _MEAN.match(tag))
            }
            row = Epoch(int(line["epoch"]), int(line["step"]), float(line["time"]), scores)
        except (KeyError, TypeError, ValueError) as err:
            raise UserError(
                f"{path}: the line {json.dumps(line)[:120]} is damaged ({err!r}): remove it; the "
                "epoch counts again once its trial has trained it again"
            ) from err
        rows[row.epoch] = row
    return [rows[epoch] for epoch in sorted(rows)]


def json_lines(path: Path) -> Iterable[dict[str, Any]]:
    """The whole lines of a file, if there is one; one cut short by a kill is left out."""
    if not path.exists():
        return
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


def read_origin(run: Path) -> Origin | None:
    """Where a run's weights came from; None: it began by itself.

    Raises:
        UserError: damaged.
    """
    path = run / ORIGIN
    try:
        return Origin.model_validate_json(path.read_bytes()) if path.exists() else None
    except (OSError, ValidationError) as err:
        raise UserError(
            f"{path}: damaged ({_said(err)}): put it back from a copy, or "
            "remove the run folder to train it again"
        ) from err


def _said(err: Exception) -> str:
    """What is wrong with a file, in one line."""
    if isinstance(err, ValidationError):
        first = err.errors()[0]
        return ": ".join([*map(str, first["loc"]), first["msg"]])
    return one_line(err)[:200]


def newest_state(run: Path) -> dict[str, Any] | None:
    """``state`` of the newest checkpoint, or None where there is none."""
    for path in sorted((run / "checkpoints").glob("step-*/state.json"), reverse=True):
        try:
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["state"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return state
    return None


def read_records(trials: Path, names: Iterable[str]) -> dict[str, Record]:
    """What each named trial has reached; epochs after its newest checkpoint do not count.

    Args:
        trials: the folder of run folders.
    """
    records = {}
    for name in names:
        path = trials / name / NOTE
        try:
            note = Note.model_validate_json(path.read_bytes()) if path.exists() else Note()
        except (OSError, ValidationError) as err:
            raise UserError(
                f"{path}: damaged ({_said(err)}): remove it; where the trial "
                "ran is forgotten, what it trained is not"
            ) from err
        records[name] = Record(note=note)
        records[name].take_committed(trials / name)
    return records
