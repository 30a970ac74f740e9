"""A sweep in progress: hands out stretches of training and takes in what comes of them; no Ray.

Whoever runs the trials (Ray, or a loop in a test) asks ``next`` while a slot is free and tells
what happens. All of it is one thread's.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lnln_dist import settings
from lnln_dist.files import PENDING
from lnln_dist.sweep.estimate import rules_of
from lnln_dist.sweep.folder import Folder
from lnln_dist.sweep.planner import Candidate, Plan, Progress, Segment, plan
from lnln_dist.sweep.records import Epoch, Record, take_committed
from lnln_dist.sweep.space import Setting, Space
from lnln_dist.sweep.trial import Job, Outcome

Key = tuple[str, int]  # (setting, seed)
Proposer = Callable[[Space, str, Mapping[str, tuple[int, float]]], Setting | None]
"""Adds one more setting to a stratum, given (epoch, cost) of those tried; None: no more."""


@dataclass
class Running:
    """A stretch that a worker has."""

    segment: Segment
    since: float


@dataclass
class Director:
    """State of a sweep between its trials' reports.

    Args:
        metric: objective, as chosen by the settings.
        direction: +1 where larger is better, -1 where smaller is.
        propose: source of further settings (Optuna); None where all are known.
    """

    space: Space
    folder: Folder
    metric: str
    direction: int
    propose: Proposer | None = None
    records: dict[Key, Record] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    """By trial."""

    def __post_init__(self) -> None:
        self._by_name = {made.name: made for made in self.space.settings}
        self._exhausted = self.folder.exhausted(self.space)
        self.records = self.folder.records(self.space)
        self.plan = self._plan()
        self._train_again_what_lost_its_weights()
        self._prune()

    def retry_failed(self) -> int:
        """Gives every failed trial another chance; returns how many."""
        failed = [key for key, record in self.records.items() if record.failure is not None]
        for key in failed:
            self.records[key].failure = None
            self._log("retry", key)
        self.plan = self._plan()
        return len(failed)

    @property
    def over(self) -> bool:
        """Nothing is left to do."""
        return not self.running and not self._waiting() and not self._open()

    def next(self) -> Job | None:
        """The next stretch of training, or None if nothing can be done until news comes."""
        waiting = self._waiting()
        if not waiting and self._ask_for_more():
            waiting = self._waiting()
        if not waiting:
            return None
        segment = waiting[0]
        setting = self._by_name[segment.name]
        trial = setting.trial(segment.seed)
        self.running[trial] = Running(segment, time.time())
        key = (segment.name, segment.seed)
        self._log("start", key, stage=segment.stage, until=segment.until)
        config = self.space.config(setting.values, segment.seed)
        return Job(
            trial=trial,
            folder=str(self.folder.trial(trial).absolute()),
            config=settings.to_dict(config),
            until=min(segment.until, setting.epochs),
            cpu=self.space.sweep.resources.gpus == 0,
            swept=self.space.swept,
        )

    def heard(self, trial: str, epoch: Epoch) -> None:
        """Takes in one epoch's scores; hearing one again changes nothing."""
        if trial not in self.running:
            return  # late news of a trial that was given up
        record = self.records[self._key(trial)]
        if len(record.epochs) < epoch.epoch:
            record.epochs.append(epoch)
            self.plan = self._plan()

    def ended(self, trial: str, outcome: Outcome) -> None:
        """Takes in how a stretch ended."""
        key = self._key(trial)
        run = self.running.pop(trial)
        record = self.records[key]
        wall = time.time() - run.since
        self._log(
            "end",
            key,
            status=outcome.status,
            start=outcome.start,
            epoch=len(record.epochs),
            finished=outcome.status == "finished",
            wall_s=round(wall, 3),
            train_s=round(outcome.seconds, 3),
            peak_gib=round(outcome.peak_gib, 3),
            host=outcome.host,
            pid=outcome.pid,
        )
        record.finished = outcome.status == "finished"
        record.wall_s += wall
        record.train_s += outcome.seconds
        record.segments += 1
        record.hosts.add(outcome.host)
        if outcome.status == "failed":
            self._fail(key, outcome.reason)
        elif outcome.status == "paused" and len(record.epochs) < run.segment.until:
            # Handing it out again would go on for ever.
            self._fail(key, f"ended after epoch {len(record.epochs)} without a word")
        self.plan = self._plan()
        self._prune()

    def lost(self, trial: str) -> None:
        """Takes back a stretch whose process or node died: it will be handed out again."""
        key = self._key(trial)
        wall = time.time() - self.running.pop(trial).since
        record = self.records[key]
        record.losses += 1
        record.wall_s += wall
        # What it told of but did not live to commit has to be trained again.
        take_committed(record, self.folder.trial(trial))
        self._log("lost", key, wall_s=round(wall, 3))
        self.plan = self._plan()

    def gave_up(self, trial: str, reason: str) -> None:
        """Takes in that a trial could not be run to its end."""
        key = self._key(trial)
        self.running.pop(trial)
        self._fail(key, reason)
        self.plan = self._plan()
        self._prune()

    def _fail(self, key: Key, reason: str) -> None:
        self.records[key].failure = reason
        self._log("failed", key, reason=reason)

    def _key(self, trial: str) -> Key:
        segment = self.running[trial].segment
        return segment.name, segment.seed

    def _log(self, event: Any, key: Key, **more: Any) -> None:
        trial = self._by_name[key[0]].trial(key[1])
        self.folder.ledger.write(event, time.time(), trial=trial, **more)

    def _waiting(self) -> list[Segment]:
        busy = {(r.segment.name, r.segment.seed) for r in self.running.values()}
        return [s for s in self.plan.segments if (s.name, s.seed) not in busy]

    def _open(self) -> frozenset[str]:
        """Strata that a sampler has not filled yet."""
        return self.space.unfilled - self._exhausted

    def _ask_for_more(self) -> bool:
        for stratum in sorted(self._open()):
            assert self.propose is not None, "a sampler's sweep needs its sampler"
            known = {
                made.name: self.plan.verdicts[made.name][:2]
                for made in self.space.settings
                if made.stratum == stratum
            }
            made = self.propose(self.space, stratum, known)
            if made is None:
                self._exhausted.add(stratum)
                self.folder.close_stratum(self.space, stratum, time.time())
                continue
            self._by_name[made.name] = made
            self.records |= {(made.name, seed): Record() for seed in self.space.sweep.seeds}
            self.folder.save(self.space)
            self.plan = self._plan()
            return True
        self.plan = self._plan()
        return bool(self._waiting())

    def progress(self) -> dict[Key, Progress]:
        """What the planner sees."""
        return {k: r.progress(self.metric, self.direction) for k, r in self.records.items()}

    def _plan(self) -> Plan:
        candidates = [Candidate(s.name, s.stratum, s.epochs) for s in self.space.settings]
        return plan(rules_of(self.space), candidates, self.progress(), open_strata=self._open())

    def _train_again_what_lost_its_weights(self) -> None:
        """A setting may be chosen only now, by a larger ``confirm.best``, its weights long gone."""
        gone = [
            (name, seed)
            for name, verdict in self.plan.verdicts.items()
            for seed in self.space.sweep.seeds
            if verdict.chosen
            and self.records[name, seed].finished
            and not (self.folder.trial(self._by_name[name].trial(seed)) / "best").exists()
        ]
        for key in gone:
            self.records[key].epochs, self.records[key].finished = [], False
        if gone:
            self.plan = self._plan()

    def _prune(self) -> None:
        """Drops checkpoints that nothing will go on from, and weights nobody asked to keep."""
        for made in self.space.settings:
            if made.stratum not in self.plan.decided:
                continue
            chosen = self.plan.verdicts[made.name].chosen
            for seed in self.space.sweep.seeds:
                record, trial = self.records[made.name, seed], made.trial(seed)
                if trial in self.running or record.failure is not None:
                    continue
                parts = []
                if record.finished or (not chosen and self.space.sweep.keep == "confirmed"):
                    parts.append("checkpoints")
                if not chosen and self.space.sweep.keep == "confirmed":
                    parts.append("best")
                self._remove((made.name, seed), parts)

    def _remove(self, key: Key, parts: list[str]) -> None:
        run = self.folder.trial(self._by_name[key[0]].trial(key[1]))
        there = [run / part for part in parts if (run / part).exists()]
        if there:
            self._log("pruned", key)  # first: a trial without checkpoints counts only if it says so
        for path in there:
            # Renamed first: a half-removed folder must not look like a checkpoint.
            gone = path.with_name(PENDING + path.name)
            shutil.rmtree(gone, ignore_errors=True)
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
