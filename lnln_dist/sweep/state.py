"""A study in progress: which stretch of training comes next, and what came of those before; no Ray.

Whoever runs the trials (Ray, or a loop in a test) asks ``next`` while a slot is free and tells what
happens. All of it is one thread's.
"""

import itertools
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lnln_dist.files import PENDING
from lnln_dist.metrics import DIRECTION
from lnln_dist.sweep import axes
from lnln_dist.sweep.folder import Folder
from lnln_dist.sweep.planner import Plan, Stretch, plan
from lnln_dist.sweep.records import Epoch, Record, Trained, committed, read_origin
from lnln_dist.sweep.space import Setting, Space

Key = tuple[str, int]  # (setting, seed)
Proposer = Callable[[Space, str, Mapping[str, tuple[int, float]]], Setting | None]
"""Adds one more setting to a stratum, given (epoch, cost) of those tried; None: no more."""


class Worker(NamedTuple):
    """Where a stretch was trained, and for how long."""

    host: str = ""
    pid: int = 0
    seconds: float = 0.0


NOWHERE = Worker()


@dataclass
class Running:
    """A stretch that a worker has."""

    stretch: Stretch
    since: float
    start: int
    """Epochs trained before."""


class Standing:
    """A sweep as it stands: what its trials have reached, and what the plan makes of that."""

    def __init__(self, space: Space, folder: Folder) -> None:
        self.space, self.folder = space, folder
        self.metric = space.common.select.metric
        self.direction = DIRECTION[self.metric]
        self.records = folder.records(space)
        self._exhausted = folder.exhausted(space)
        self.plan = self._plan()

    @property
    def open_strata(self) -> frozenset[str]:
        """Those that a sampler has not filled yet."""
        return self.space.unfilled - self._exhausted

    @property
    def over(self) -> bool:
        """Nothing is left to train."""
        return not self.open_strata and not self.plan.stretches

    @property
    def epochs(self) -> int:
        """Epochs trained so far."""
        return sum(len(record.epochs) for record in self.records.values())

    def values(self, made: Setting, seed: int) -> dict[str, Any]:
        """A trial's own dotted settings: as the axes say, or as a scheduler of Ray's left them."""
        origin = read_origin(self.folder.trial(made.trial(seed)))
        if origin is not None:
            return origin.values
        return {**axes.apply(self.space.sweep, made.values), "train.seed": seed}

    @property
    def passed_over(self) -> set[str]:
        """Settings that go no further: by a rung, by the choice of the best, or for a failure."""
        sweep, out = self.space.sweep, set()
        for made in self.space.settings:
            screening = [self.records[made.name, s] for s in sweep.seeds[: sweep.screen.seeds]]
            failed = any(record.failure is not None for record in screening)
            decided = made.stratum in self.plan.decided
            if (failed or decided) and not self.plan.verdicts[made.name].chosen:
                out.add(made.name)
        for rungs in itertools.chain.from_iterable(self.plan.rungs.values()):
            for rung, above in itertools.pairwise(rungs):
                # Where few go up, some of the others are among the best in the end all the same.
                if rung.over and len(above.names) >= sweep.confirm.best:
                    out |= set(rung.names) - set(above.names)
        return out

    def _plan(self) -> Plan:
        """What is still to be trained, given what the trials have reached."""
        space, records = self.space, self.records
        made = plan(
            space.sweep,
            space.candidates,
            {key: record.progress(self.metric, self.direction) for key, record in records.items()},
            open_strata=self.open_strata,
        )
        # What a scheduler of Ray's has stopped is through with the screening, not with its
        # training.
        made.stretches.extend(
            Stretch(s.name, seed, s.epochs, "confirm")
            for s in space.settings
            for seed in space.sweep.seeds
            if made.verdicts[s.name].chosen
            and (note := records[s.name, seed].note).stopped
            and not (note.finished or note.failure)
        )
        return made


class Study(Standing):
    """State of a sweep between its trials' reports.

    Args:
        propose: source of further settings; None where all are known.
    """

    def __init__(self, space: Space, folder: Folder, propose: Proposer | None = None) -> None:
        super().__init__(space, folder)
        self.propose = propose
        self.running: dict[Key, Running] = {}
        self.held: set[Key] = set()
        """Trials that a scheduler of Ray's has paused: it alone lets them go on."""
        self.halted = ""
        """Why nothing more is handed out."""
        self._by_name = {made.name: made for made in space.settings}
        self._train_again_what_lost_its_weights()
        self._prune()

    def retry_failed(self) -> None:
        """Gives every failed trial another chance."""
        for key, record in self.records.items():
            if record.failure is not None:
                record.note.failure = None
                self._save(key)
        self.plan = self._plan()

    @property
    def over(self) -> bool:
        """Nothing is left to do."""
        return super().over and not self.running

    def name(self, key: Key) -> str:
        """A trial's name."""
        return self._by_name[key[0]].trial(key[1])

    def setting(self, key: Key) -> Setting:
        """A trial's setting."""
        return self._by_name[key[0]]

    def next(self) -> Stretch | None:
        """The most urgent stretch that nobody has; None if nothing can be done until news comes."""
        if self.halted:
            return None
        waiting = self.waiting()
        if not waiting and self._ask_for_more():
            waiting = self.waiting()
        return waiting[0] if waiting else None

    def waiting(self) -> list[Stretch]:
        """The stretches that nobody has, the most urgent first."""
        taken = self.running.keys() | self.held
        return [s for s in self.plan.stretches if (s.name, s.seed) not in taken]

    def start(self, stretch: Stretch) -> None:
        """Takes in that a worker will have a stretch."""
        key = (stretch.name, stretch.seed)
        record = self.records[key]
        self.held.discard(key)
        self.running[key] = Running(stretch, time.time(), len(record.epochs))
        if record.note.pruned:
            record.note.pruned = False
            self._save(key)

    def stretch(self, key: Key) -> Stretch:
        """What is wanted of a trial; until epoch 0 where it is to go no further."""
        own = (s for s in self.plan.stretches if (s.name, s.seed) == key)
        return max(own, key=lambda s: s.until, default=Stretch(*key, 0, "screen"))

    def heard(self, key: Key, epoch: Epoch) -> None:
        """Takes in one epoch's scores; hearing one again changes nothing."""
        record = self.records[key]
        if len(record.epochs) < epoch.epoch:
            record.epochs.append(epoch)
            self.plan = self._plan()

    def replaced(self, key: Key, epoch: int) -> None:
        """Takes in that a trial goes on with another's weights, whose past is its own from now on.

        Args:
            epoch: the last that was told of.
        """
        known = committed(self.folder.trial(self.name(key)))
        self.records[key].epochs = [row for row in known if row.epoch <= epoch]
        self.plan = self._plan()

    def stop(self, key: Key) -> None:
        """Takes in that a scheduler of Ray's wants no more of a trial that it had paused."""
        self.held.discard(key)
        self.records[key].note.stopped = True
        self._save(key)
        self.plan = self._plan()
        self._prune()

    def ended(
        self, key: Key, worker: Worker = NOWHERE, *, finished: bool = False, stopped: bool = False
    ) -> None:
        """Takes in that a stretch has ended well.

        Args:
            finished: the training program has ended by itself.
            stopped: a scheduler of Ray's wants no more of it.
        """
        note = self.records[key].note
        self._note(key, self.running.pop(key), worker)
        note.finished, note.stopped = finished, note.stopped or stopped
        self._save(key)
        self.plan = self._plan()
        self._prune()

    def lost(self, key: Key) -> None:
        """Takes back a stretch whose process or node died: it has to be trained again."""
        self.running.pop(key, None)
        record = self.records[key]
        record.note.losses += 1
        # What it told of but did not live to commit does not count.
        record.take_committed(self.folder.trial(self.name(key)))
        self._save(key)
        self.plan = self._plan()

    def failed(self, key: Key, reason: str, worker: Worker = NOWHERE) -> None:
        """Takes in that a trial cannot be trained to its end."""
        run = self.running.pop(key, None)
        if run:
            self._note(key, run, worker)
        self.records[key].note.failure = reason
        self._save(key)
        self.plan = self._plan()
        self._prune()

    def _note(self, key: Key, run: Running, worker: Worker) -> None:
        wall = time.time() - run.since
        self.records[key].note.stretches.append(
            Trained(
                start=run.start,
                epoch=len(self.records[key].epochs),
                wall_s=round(wall, 3),
                train_s=round(min(wall, worker.seconds), 3),
                host=worker.host,
                pid=worker.pid,
            )
        )

    def _save(self, key: Key) -> None:
        self.records[key].save(self.folder.trial(self.name(key)))

    def _ask_for_more(self) -> bool:
        open_strata = sorted(self.open_strata)
        for stratum in open_strata:
            assert self.propose is not None, "a sampler's sweep needs its sampler"
            known = {
                made.name: self.plan.verdicts[made.name][:2]
                for made in self.space.settings
                if made.stratum == stratum
            }
            made = self.propose(self.space, stratum, known)
            if made is None:
                self._exhausted.add(stratum)
            else:
                self._by_name[made.name] = made
                self.records |= {(made.name, seed): Record() for seed in self.space.sweep.seeds}
            self.folder.save(self.space, exhausted=self._exhausted)
            if made is not None:
                break
        if open_strata:
            self.plan = self._plan()
        return bool(open_strata)

    def _train_again_what_lost_its_weights(self) -> None:
        """A setting may be chosen only now, by a larger ``confirm.best``, its weights long gone."""
        for name, verdict in self.plan.verdicts.items():
            for seed in self.space.sweep.seeds if verdict.chosen else ():
                record = self.records[name, seed]
                if (
                    record.finished
                    and not (self.folder.trial(self.name((name, seed))) / "best").exists()
                ):
                    record.epochs, record.note.finished = [], False
        self.plan = self._plan()

    def _prune(self) -> None:
        """Drops checkpoints that nothing will go on from, and weights nobody asked to keep."""
        for made in self.space.settings:
            if made.stratum not in self.plan.decided:
                continue
            sweep = self.space.sweep
            # Weights of a population could not be made again, should they be asked for later.
            kept = sweep.keep == "all" or sweep.screen.alters
            dropped = not kept and not self.plan.verdicts[made.name].chosen
            for seed in self.space.sweep.seeds:
                key = (made.name, seed)
                record = self.records[key]
                if key in self.running or record.failure is not None:
                    continue
                parts = ["checkpoints"] if record.finished or dropped else []
                self._remove(key, [*parts, "best"] if dropped else parts)

    def _remove(self, key: Key, parts: list[str]) -> None:
        run = self.folder.trial(self.name(key))
        there = [run / part for part in parts if (run / part).exists()]
        if there and not self.records[key].note.pruned:
            # First: a trial without checkpoints counts only if it says so.
            self.records[key].note.pruned = True
            self._save(key)
        for path in there:
            # Renamed first: a half-removed folder must not look like a checkpoint.
            gone = path.with_name(PENDING + path.name)
            shutil.rmtree(gone, ignore_errors=True)
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
