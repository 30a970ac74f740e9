"""The study as Ray Tune's scheduler: one Tune trial per (setting, seed) for its whole life.

``Feed`` gives Tune a trial when the study first wants it; ``StudyScheduler`` pauses it where the
study wants no more of it for now, lets it go on when it does, and stops it when it never will. All
is decided by the pure plan; a study may leave the screening to a scheduler of Ray's.
"""

import contextlib
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from lnln_dist.data.damage import find_damage
from lnln_dist.errors import one_line
from lnln_dist.sweep.planner import Stretch
from lnln_dist.sweep.records import Epoch
from lnln_dist.sweep.state import Key, Study, Worker

SLOTS_S = 2.0  # seconds for which a count of the cluster's slots is believed
FAILED, NO_ROOM = "TrialFailedError", "StorageError"
Line = Callable[[str], None]


class Feed(Searcher):  # type: ignore[misc]
    """Tune's source of trials.

    Args:
        slots: counts the trials that the cluster holds now.
        all_at_once: give Tune every trial that is wanted, which then waits there for a slot: what
            schedulers need that compare a whole population.
    """

    def __init__(
        self, study: Study, slots: Callable[[], int], *, all_at_once: bool = False
    ) -> None:
        super().__init__(metric=study.metric, mode="min" if study.direction < 0 else "max")
        self.study = study
        self.keys: dict[str, Key] = {}
        """By Tune's id."""
        self._slots, self._counted, self._found = slots, float("-inf"), 0
        self._all_at_once = all_at_once

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its sources down, but a study goes on from its run folders."""
        return {}

    def __deepcopy__(self, memo: Any) -> "Feed":
        """Itself: Tune copies what it makes a trial of, and that names trials by this."""
        return self

    def free(self) -> bool:
        """Whether one more trial may be started.

        Nodes come and go; asking Ray every time would be most of what this does.
        """
        if time.monotonic() - self._counted > SLOTS_S:
            self._counted, self._found = time.monotonic(), max(1, self._slots())
        return len(self.study.running) < self._found

    def next(self) -> Stretch | None:
        """The stretch to be started now."""
        return self.study.next() if self.free() else None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Settings of a trial that Tune does not have yet; None while another is to go on."""
        if self.study.over or self.study.halted:
            return Searcher.FINISHED  # type: ignore[no-any-return]
        begun = set(self.keys.values())
        if self._all_at_once:
            new = (s for s in self.study.waiting() if s[:2] not in begun)
            stretch = next(new, None)
        else:
            stretch = self.next()
        if stretch is None or stretch[:2] in begun:
            return None
        self.keys[trial_id] = key = (stretch.name, stretch.seed)
        if not self._all_at_once:
            self.study.start(stretch)
        return self.study.values(self.study.setting(key), stretch.seed)

    def started(self, trial: Trial) -> None:
        """A worker has a trial that may have waited in Tune's own queue."""
        key = self.keys[trial.trial_id]
        if key not in self.study.running:
            self.study.start(self.study.stretch(key))

    def name(self, trial: Trial) -> str:
        """A trial's name in Tune, that of its run folder."""
        return self.study.name(self.keys[trial.trial_id])

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the scheduler tells the study."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class Part:
    """Tune's controller, as a scheduler of Ray's sees it that has one stratum alone."""

    search_alg = None  # population based training refuses any

    def __init__(self, tune: Any, trials: list[Trial], stop: Callable[[Trial], None]) -> None:
        self._tune, self._trials, self._stop = tune, trials, stop

    def get_trials(self) -> list[Trial]:
        """Those of the stratum."""
        return self._trials

    def get_live_trials(self) -> set[Trial]:
        """Those of the stratum that have not ended."""
        live: set[Trial] = self._tune.get_live_trials() & set(self._trials)
        return live

    def stop_trial(self, trial: Trial) -> None:
        """Ends one that was paused."""
        self._stop(trial)
        self._tune.stop_trial(trial)

    def __getattr__(self, name: str) -> Any:
        """All else is the controller's."""
        return getattr(self._tune, name)


class Judge:
    """A scheduler of Ray's that screens one stratum."""

    def __init__(self, scheduler: TrialScheduler, study: Study, key: Callable[[Trial], Key]):
        self.scheduler, self._study, self._key = scheduler, study, key
        self._trials: list[Trial] = []
        self._configs: dict[str, Any] = {}

    def part(self, tune: Any) -> Part:
        """What it sees of Tune."""
        return Part(tune, self._trials, lambda trial: self._study.stop(self._key(trial)))

    def add(self, tune: Any, trial: Trial) -> None:
        """A new trial, or one that is to be tried again."""
        if trial not in self._trials:
            self._trials.append(trial)
        self.tell(tune, "on_trial_add", trial)
        self._configs[trial.trial_id] = trial.config

    def tell(self, tune: Any, what: str, *told: Any) -> Any:
        """Calls a method of the scheduler; one that raises stops the study, not the driver."""
        try:
            return getattr(self.scheduler, what)(self.part(tune), *told)
        except Exception as err:  # whatever a scheduler of Ray's runs into
            name = type(self.scheduler).__name__
            said = f"screen.scheduler: {name}: {type(err).__name__}: {one_line(err)[:300]}"
            self._study.halted = self._study.halted or said  # what comes later follows from it
            tune.request_stop_experiment()
            return None

    def took_over(self, trial: Trial) -> bool:
        """Whether it has gone on with another's weights and new settings since the last time."""
        changed = self._changed(trial)
        self._configs[trial.trial_id] = trial.config
        return changed

    def _changed(self, trial: Trial) -> bool:
        return self._configs[trial.trial_id] is not trial.config

    def next(self, tune: Any) -> Trial | None:
        """A paused trial that is to go on."""
        live = self.part(tune).get_live_trials()
        # Before those whose weights they take over train on.
        heirs = [t for t in self._trials if t in live and self._changed(t)]
        if heirs:
            return next((t for t in heirs if t.status == Trial.PAUSED), None)
        chosen = self.tell(tune, "choose_trial_to_run")
        if chosen is not None:
            return chosen if chosen.status == Trial.PAUSED else None
        if any(trial.status in (Trial.RUNNING, Trial.PENDING) for trial in live):
            return None
        # All wait for one that has ended by itself, which Ray's own would never notice.
        return next((t for t in self._trials if t in live and t.status == Trial.PAUSED), None)


class StudyScheduler(TrialScheduler):  # type: ignore[misc]
    """Decides by the study's plan.

    Args:
        feed: the source of its trials.
        line: tells a line that stays.
        native: makes a scheduler of Ray's for each stratum, which decides while screening.
    """

    _supports_buffered_results = False

    def __init__(
        self, feed: Feed, line: Line, native: Callable[[], TrialScheduler] | None = None
    ) -> None:
        super().__init__()
        self._feed, self._study, self._line = feed, feed.study, line
        self._mine: set[str] = set()  # ids of trials that this stops
        self._native: dict[str, Judge] = {}
        if native:
            for stratum in feed.study.space.strata:
                self._native[stratum] = Judge(native(), feed.study, self._key)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the feed."""
        return {}

    def _key(self, trial: Trial) -> Key:
        return self._feed.keys[trial.trial_id]

    def _judge(self, trial: Trial) -> Judge | None:
        """The scheduler of Ray's that has a trial, while it is screened."""
        made = self._study.setting(self._key(trial))
        screened = made.stratum not in self._study.plan.decided
        return self._native.get(made.stratum) if screened else None

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A new trial, or one that is to be tried again."""
        if self._study.records[self._key(trial)].failure is not None:
            tune_controller._set_trial_status(trial, Trial.ERROR)
            tune_controller._live_trials.discard(trial)
        elif judge := self._judge(trial):
            judge.add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Its process or node died, or it raised something."""
        key = self._key(trial)
        run = self._study.running.get(key)
        name, reason = _cause(trial)
        data = self._study.setting(key).data
        if name == NO_ROOM:
            # Every other trial would end the same way: better stop than mark all of them failed.
            self._study.halted = reason
            self._study.lost(key)
            tune_controller.request_stop_experiment()
        elif (
            name == FAILED or (damage := data and find_damage(data)) or (not trial.should_recover())
        ):
            text = reason if name == FAILED else damage or f"{name}: {reason}"
            self._study.failed(key, text, _worker(trial.last_result))
            self._line(f"{trial}: failed: {text}")
        else:
            self._study.lost(key)
            self._line(f"{trial}: lost ({name}: {reason}), starting it again")
            if run:
                self._study.start(run.stretch)
        if judge := self._judge(trial):
            judge.tell(tune_controller, "on_trial_error", trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """An epoch's scores."""
        key, epoch = self._key(trial), int(result["epoch"])
        score = {self._study.metric: result.get(self._study.metric, float("nan"))}
        self._study.heard(key, Epoch(epoch, int(result["step"]), time.time(), score))
        judge = self._judge(trial)
        if judge and judge.took_over(trial):
            self._study.replaced(key, epoch)
        if epoch < len(self._study.records[key].epochs) or epoch >= self._study.setting(key).epochs:
            return TrialScheduler.CONTINUE  # type: ignore[no-any-return]
        if judge:
            decision: str = (
                judge.tell(tune_controller, "on_trial_result", trial, result)
                or TrialScheduler.CONTINUE
            )
            if decision == TrialScheduler.STOP:
                self._mine.add(trial.trial_id)
                self._study.ended(key, _worker(result), stopped=True)
            elif decision == TrialScheduler.PAUSE or trial.status == Trial.PAUSED:
                self._study.held.add(key)
                self._study.ended(key, _worker(result))
            if decision != TrialScheduler.CONTINUE:
                return decision
        if epoch < self._study.stretch(key).until:
            return TrialScheduler.CONTINUE  # type: ignore[no-any-return]
        self._study.ended(key, _worker(result))
        if key[0] in self._study.passed_over:
            self._mine.add(trial.trial_id)
            return TrialScheduler.STOP  # type: ignore[no-any-return]
        return TrialScheduler.PAUSE  # type: ignore[no-any-return]

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """It was stopped, or has returned by itself: by its patience, or at its last epoch."""
        key = self._key(trial)
        judge = self._judge(trial)
        if trial.trial_id not in self._mine:
            self._study.ended(key, _worker(result), finished=True)
        if judge:
            judge.tell(tune_controller, "on_trial_complete", trial, result)
        self._forget(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A paused trial was stopped."""
        if judge := self._judge(trial):
            judge.tell(tune_controller, "on_trial_remove", trial)
        self._forget(trial)

    def _forget(self, trial: Trial) -> None:
        """Should the study want it again, it is another trial of Tune's: this one has ended."""
        self._feed.keys[trial.trial_id] = (f"{trial.trial_id} ended", 0)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The paused trial that is to go on, if one is next."""
        study = self._study
        for trial in tune_controller.get_trials() if not study.halted else ():
            record = study.records.get(self._key(trial))
            if trial.status == Trial.ERROR and record and record.failure is None:
                # Tune has given it up by itself: an actor that would not take another trial.
                study.lost(self._key(trial))
                self._forget(trial)
        paused = [t for t in tune_controller.get_live_trials() if t.status == Trial.PAUSED]
        gone = study.passed_over if paused else set()
        for trial in paused:
            over = study.over or study.halted or self._key(trial)[0] in gone
            if over and not trial.is_saving:
                tune_controller.stop_trial(trial)
        busy = study.halted or not self._feed.free()
        for stratum, judge in () if busy else self._native.items():
            chosen = judge.next(tune_controller) if stratum not in study.plan.decided else None
            if chosen:
                study.start(study.stretch(self._key(chosen)))
                return chosen
        stretch = self._feed.next()
        for trial in paused:
            if stretch and trial.status == Trial.PAUSED and self._key(trial) == stretch[:2]:
                study.start(stretch)
                return trial
        return None

    def debug_string(self) -> str:
        """What Tune prints of it."""
        return f"Study of {len(self._study.space.settings)} settings"

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def _worker(result: Any) -> Worker:
    """Where a trial's last result came from."""
    return Worker(
        host=result.get("hostname", ""),
        pid=int(result.get("pid", 0)),
        seconds=float(result.get("time_since_restore", 0.0)),
    )


def _cause(trial: Trial) -> tuple[str, str]:
    """Name and text of a Tune trial's last error, in one line."""
    error: Any = None
    with contextlib.suppress(OSError, TypeError, pickle.UnpicklingError):
        # The driver's own copy: the one in the storage may not be there yet.
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())  # noqa: S301 Ray wrote it
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    found = re.fullmatch(r"(?:\w+\.)*(\w+(?:Error|Exit|Exception)): (.*)", last)
    return (found[1], found[2][:400]) if found else (type(cause).__name__, last[:400])
