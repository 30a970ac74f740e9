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
from lnln_dist.sweep import axes
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
    """

    def __init__(self, study: Study, slots: Callable[[], int]) -> None:
        super().__init__(metric=study.metric, mode="min" if study.direction < 0 else "max")
        self.study = study
        self.keys: dict[str, Key] = {}
        """By Tune's id."""
        self._slots, self._counted, self._found = slots, float("-inf"), 0

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
        stretch = self.next()
        if stretch is None or stretch[:2] in self.keys.values():
            return None
        self.keys[trial_id] = key = (stretch.name, stretch.seed)
        self.study.start(stretch)
        values = axes.apply(self.study.space.sweep, self.study.setting(key).values)
        return {**values, "train.seed": stretch.seed}

    def name(self, trial: Trial) -> str:
        """A trial's name in Tune, that of its run folder."""
        return self.study.name(self.keys[trial.trial_id])

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the scheduler tells the study."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


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
        self._native = {s: native() for s in feed.study.space.strata} if native else {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the feed."""
        return {}

    def _key(self, trial: Trial) -> Key:
        return self._feed.keys[trial.trial_id]

    def _judge(self, trial: Trial) -> TrialScheduler | None:
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
            judge.on_trial_add(tune_controller, trial)

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
            judge.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """An epoch's scores."""
        key, epoch = self._key(trial), int(result["epoch"])
        score = {self._study.metric: result.get(self._study.metric, float("nan"))}
        self._study.heard(key, Epoch(epoch, int(result["step"]), time.time(), score))
        if epoch < len(self._study.records[key].epochs) or epoch >= self._study.setting(key).epochs:
            return TrialScheduler.CONTINUE  # type: ignore[no-any-return]
        judge = self._judge(trial)
        if judge:
            decision: str = judge.on_trial_result(tune_controller, trial, result)
            if decision in (TrialScheduler.STOP, TrialScheduler.PAUSE):
                stopped = decision == TrialScheduler.STOP
                self._study.ended(key, _worker(result), stopped=stopped)
            if decision == TrialScheduler.STOP:
                self._mine.add(trial.trial_id)
            if decision != TrialScheduler.CONTINUE:
                return decision
        if epoch < self._study.wants(key):
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
            judge.on_trial_complete(tune_controller, trial, result)
        self._forget(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A paused trial was stopped."""
        if judge := self._judge(trial):
            judge.on_trial_remove(tune_controller, trial)
        self._forget(trial)

    def _forget(self, trial: Trial) -> None:
        """Should the study want it again, it is another trial of Tune's: this one has ended."""
        self._feed.keys[trial.trial_id] = (f"{trial.trial_id} ended", 0)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The paused trial that is to go on, if one is next."""
        study = self._study
        for trial in tune_controller.get_trials():
            if trial.status == Trial.ERROR and self._key(trial) in study.running:
                # Tune has given it up by itself: an actor that would not take another trial.
                study.lost(self._key(trial))
                self._forget(trial)
        paused = [t for t in tune_controller.get_live_trials() if t.status == Trial.PAUSED]
        gone = study.passed_over if paused else set()
        for trial in paused:
            over = study.over or study.halted or self._key(trial)[0] in gone
            if over and not trial.is_saving:
                tune_controller.stop_trial(trial)
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
