"""The study as Tune's scheduler, played with trials that need no cluster."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_runs
from sweep_standin import SWEEP, drive, make_study, train

pytest.importorskip("ray", reason="Ray is an extra")

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher

from lnln_dist.errors import StorageError
from lnln_dist.sweep import summary
from lnln_dist.sweep.results import Results
from lnln_dist.sweep.state import Key, Study
from lnln_dist.sweep.trial import TrialFailedError
from lnln_dist.sweep.tune.scheduler import Feed, Judge, StudyScheduler


class FakeTrial:
    """As much of a Tune trial as the scheduler looks at."""

    is_saving = False

    def __init__(self, number: str, folder: Path) -> None:
        self.trial_id, self.status, self.failures = number, Trial.PENDING, 0
        self.last_result: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.pickled_error_file = str(folder / f"error-{number}")

    def should_recover(self) -> bool:
        return self.failures <= 1

    def breaks(self, error: Exception) -> None:
        self.failures += 1
        Path(self.pickled_error_file).write_bytes(pickle.dumps(error))


class FakeTune:
    """A controller that plays a study's trials one epoch at a time, ``slots`` at once."""

    def __init__(
        self, study: Study, *, slots: int = 1, native: Any = None, all_at_once: bool = False
    ) -> None:
        self.study, self.slots, self.all_at_once = study, slots, all_at_once
        self.lines: list[str] = []
        self.feed = Feed(study, lambda: slots, all_at_once=all_at_once)
        self.scheduler = StudyScheduler(self.feed, self.lines.append, native)
        self.trials: dict[str, FakeTrial] = {}
        self.decisions: list[str] = []
        self._live_trials: set[FakeTrial] = set()
        self.stopping = False

    def get_trials(self) -> list[FakeTrial]:
        return list(self.trials.values())

    def get_live_trials(self) -> set[FakeTrial]:
        return self._live_trials

    def _set_trial_status(self, trial: FakeTrial, status: str) -> None:
        trial.status = status

    def request_stop_experiment(self) -> None:
        self.stopping = True

    def stop_trial(self, trial: FakeTrial) -> None:
        if trial.status == Trial.RUNNING:
            self.scheduler.on_trial_complete(self, trial, trial.last_result)
        else:
            self.scheduler.on_trial_remove(self, trial)
        trial.status = Trial.TERMINATED
        self._live_trials.discard(trial)

    def add(self) -> bool:
        number = str(len(self.trials))
        found = self.feed.suggest(number)
        if not isinstance(found, dict):
            return found == Searcher.FINISHED
        trial = FakeTrial(number, self.study.folder.path)
        trial.config = found
        self.trials[number] = trial
        self._live_trials.add(trial)
        self.scheduler.on_trial_add(self, trial)
        if not self.all_at_once:
            trial.status = Trial.RUNNING
        return False

    def start_pending(self) -> None:
        """Those that wait in Tune's queue, as slots come free."""
        for trial in self.get_trials():
            running = [t for t in self.get_trials() if t.status == Trial.RUNNING]
            if trial.status == Trial.PENDING and len(running) < self.slots:
                trial.status = Trial.RUNNING
                self.feed.started(trial)

    def key(self, trial: FakeTrial) -> Key:
        return self.feed.keys[trial.trial_id]

    def epoch(self, trial: FakeTrial) -> None:
        """One more epoch of a running trial."""
        key = self.key(trial)
        record = self.study.records[key]
        done = len(record.epochs)
        if done == self.study.setting(key).epochs:
            self.stop_trial(trial)
            return
        told: list[Any] = []
        shadow = SimpleNamespace(**vars(self.study), name=self.study.name)
        shadow.setting = self.study.setting
        shadow.heard = lambda _, row: told.append(row)
        train(shadow, key, done + 1)
        row = told[-1]
        trial.last_result = {"epoch": done + 1, "step": row.step, "mae": row.scores["mae"]}
        trial.last_result["training_iteration"] = done + 1
        decision = self.scheduler.on_trial_result(self, trial, trial.last_result)
        self.decisions.append(decision)
        if decision == TrialScheduler.PAUSE:
            trial.status = Trial.PAUSED
        elif decision == TrialScheduler.STOP:
            self.stop_trial(trial)

    def play(self, each: Callable[[FakeTrial], None] | None = None) -> None:
        """To the end."""
        for _ in range(2000):
            ends = self.add()
            chosen = self.scheduler.choose_trial_to_run(self)
            if chosen is not None:
                chosen.status = Trial.RUNNING
            self.start_pending()
            running = [t for t in self.get_trials() if t.status == Trial.RUNNING]
            for trial in running:
                (each or self.epoch)(trial)
            if ends and not self._live_trials:
                return
        raise AssertionError("it does not end")


@pytest.mark.parametrize(("slots", "best"), [(1, 1), (3, 1), (2, 4)])
def test_it_ends_as_the_plan_does_with_one_trial_per_setting_and_seed(
    tmp_path: Path, slots: int, best: int
) -> None:
    raw = {**SWEEP, "confirm": {"best": best}}
    alone = make_study(tmp_path / "alone", raw)
    drive(alone)
    tune = FakeTune(make_study(tmp_path / "tune", raw), slots=slots)
    tune.play()
    assert tune.study.over
    ended = make_study(tmp_path / "tune", raw)
    assert {k: r.epochs for k, r in ended.records.items() if r.epochs}.keys() == {
        k for k, r in alone.records.items() if r.epochs
    }
    for key, record in alone.records.items():
        assert len(ended.records[key].epochs) == len(record.epochs)
        assert ended.records[key].finished == record.finished
    assert ended.plan.verdicts == alone.plan.verdicts
    assert len(tune.trials) == sum(bool(r.epochs) for r in alone.records.values())
    assert {"CONTINUE", "PAUSE"} <= set(tune.decisions)
    assert best > 1 or "STOP" in tune.decisions


def test_a_trials_config_are_its_settings(tmp_path: Path) -> None:
    tune = FakeTune(make_study(tmp_path))
    tune.add()
    (trial,) = tune.get_trials()
    assert trial.config.keys() == {"loss.adversarial", "loss.reconstruction", "train.seed"}
    name, seed = tune.key(trial)
    assert tune.feed.name(trial) == f"{name}_s{seed}"
    assert trial.config["train.seed"] == seed


def test_no_more_trials_than_slots(tmp_path: Path) -> None:
    tune = FakeTune(make_study(tmp_path), slots=2)
    for _ in range(3):
        tune.add()
    assert len(tune.trials) == 2


def test_a_full_disk_stops_the_study_and_fails_nobody(tmp_path: Path) -> None:
    tune = FakeTune(make_study(tmp_path))
    tune.add()
    (trial,) = tune.get_trials()
    trial.breaks(StorageError("the disk is full"))
    tune.scheduler.on_trial_error(tune, trial)
    assert (tune.study.halted, tune.stopping) == ("the disk is full", True)
    assert tune.feed.suggest("two") == Searcher.FINISHED
    again = make_study(tmp_path)
    assert not any(record.failure for record in again.records.values())
    assert not again.over


def test_a_trial_that_is_lost_is_tried_again_until_its_retries_are_used_up(tmp_path: Path) -> None:
    tune = FakeTune(make_study(tmp_path))
    tune.add()
    (trial,) = tune.get_trials()
    key = tune.key(trial)
    for _ in range(2):
        trial.breaks(ConnectionError("node gone"))
        tune.scheduler.on_trial_error(tune, trial)
    assert tune.lines[0].endswith("lost (ConnectionError: node gone), starting it again")
    record = make_study(tmp_path).records[key]
    assert (record.failure, record.note.losses) == ("ConnectionError: node gone", 1)


def test_its_own_fault_is_no_reason_to_try_a_trial_again(tmp_path: Path) -> None:
    tune = FakeTune(make_study(tmp_path))
    tune.add()
    (trial,) = tune.get_trials()
    key = tune.key(trial)
    trial.breaks(TrialFailedError("loss not finite"))
    tune.scheduler.on_trial_error(tune, trial)
    trial.status = Trial.PENDING  # Tune puts it into its queue again
    tune.scheduler.on_trial_add(tune, trial)
    assert trial.status == Trial.ERROR
    assert trial not in tune._live_trials
    assert make_study(tmp_path).records[key].failure == "loss not finite"
    # The other seed of that setting can win nothing any more.
    other = (key[0], 3 - key[1])
    assert tune.study.stretch(other).until == 0


@pytest.mark.parametrize("all_at_once", [False, True])
def test_what_tune_gives_up_by_itself_is_handed_out_again(
    tmp_path: Path, all_at_once: bool
) -> None:
    tune = FakeTune(make_study(tmp_path), all_at_once=all_at_once)
    tune.add()
    (trial,) = tune.get_trials()
    key = tune.key(trial)
    trial.status = Trial.ERROR
    tune._live_trials.discard(trial)
    assert tune.scheduler.choose_trial_to_run(tune) is None
    tune.add()
    assert tune.key(tune.get_trials()[1]) == key
    losses = make_study(tmp_path).records[key].note.losses
    tune.scheduler.choose_trial_to_run(tune)
    assert make_study(tmp_path).records[key].note.losses == losses == 1


def test_a_scheduler_of_rays_screens_each_stratum_by_itself(tmp_path: Path) -> None:
    raw = {
        **SWEEP,
        "axes": {**SWEEP["axes"], "select.rates": {"grid": [[0.1], [0.9]]}},
        "screen": {"scheduler": {"ray": "ASHAScheduler"}},
    }

    def native() -> AsyncHyperBandScheduler:
        return AsyncHyperBandScheduler(
            metric="mae", mode="min", max_t=9, grace_period=1, reduction_factor=3
        )

    tune = FakeTune(make_study(tmp_path, raw), slots=2, native=native)
    tune.play()
    stopped = {key for key, record in tune.study.records.items() if record.note.stopped}
    assert {tune.study.setting(key).stratum for key in stopped} == {"rates0.1", "rates0.9"}
    for stratum in ("rates0.1", "rates0.9"):
        chosen = [
            s.name
            for s in tune.study.space.settings
            if s.stratum == stratum and tune.study.plan.verdicts[s.name].chosen
        ]
        assert len(chosen) == 1
        assert all(tune.study.records[chosen[0], seed].finished for seed in (1, 2, 3))
    results = Results(tmp_path)
    states = {m.name: (summary.state(results, m), results.trained(m)) for m in results.settings}
    early = {states[name] for name, _ in stopped if states[name][0] != "confirmed"}
    assert early == {(f"stopped after {n}", n) for _, n in early}
    assert ("stopped after 1", 1) in early
    # Its decisions are not made again: they are noted.
    assert make_study(tmp_path, raw).over


@pytest.mark.parametrize("slots", [1, 3])
def test_hyperband_has_all_trials_pauses_them_and_ends(tmp_path: Path, slots: int) -> None:
    raw = {**SWEEP, "screen": {"scheduler": {"ray": "HyperBandScheduler"}}}

    def native() -> HyperBandScheduler:
        return HyperBandScheduler(metric="mae", mode="min", max_t=9)

    study = make_study(tmp_path, raw)
    tune = FakeTune(study, slots=slots, native=native, all_at_once=True)
    for _ in range(8):
        tune.add()
    assert len(tune.trials) == 8
    assert not study.running  # they wait: none takes a slot before a worker has it
    most = 0

    def epoch(trial: FakeTrial) -> None:
        nonlocal most
        most = max(most, len(study.running))
        tune.epoch(trial)

    tune.play(epoch)
    assert most == slots
    assert "PAUSE" in tune.decisions
    stopped = [len(r.epochs) for r in study.records.values() if r.note.stopped]
    assert set(stopped) <= {3, 9}  # the bracket of five goes on with two of them after three epochs
    assert stopped.count(3) == 3
    best = "adversarial0.4_reconstruction0.1"
    assert all(study.records[best, seed].finished for seed in (1, 2, 3))
    assert make_study(tmp_path, raw).over


class Sleeper:
    """A scheduler of Ray's that waits for ever, as some do for a trial that has ended."""

    def on_trial_add(self, tune: Any, trial: Any) -> None:
        pass

    def choose_trial_to_run(self, tune: Any) -> None:
        return None


def test_a_judge_that_waits_for_nobody_does_not_hold_the_sweep_up(tmp_path: Path) -> None:
    tune = FakeTune(make_study(tmp_path), slots=2)
    judge = Judge(Sleeper(), tune.study, tune.key)
    for _ in range(2):
        tune.add()
    one, other = tune.get_trials()
    for trial in (one, other):
        judge.add(tune, trial)
    one.status = Trial.PAUSED
    assert judge.next(tune) is None  # the other may still tell something
    tune._live_trials.discard(other)
    assert judge.next(tune) is one


def test_a_scheduler_of_rays_that_raises_stops_the_study_with_its_words(tmp_path: Path) -> None:
    class Broken(Sleeper):
        def on_trial_result(self, *_: Any) -> None:
            raise ZeroDivisionError("division by zero")

    tune = FakeTune(make_study(tmp_path), slots=2, native=Broken)
    tune.add()
    tune.epoch(*tune.get_trials())
    assert tune.stopping
    (judge,) = tune.scheduler._native.values()
    judge.tell(tune, "nothing_of_that_name")  # fails, too
    assert tune.study.halted == "screen.scheduler: Broken: ZeroDivisionError: division by zero"
    assert tune.scheduler.choose_trial_to_run(tune) is None


def test_heirs_go_first_and_their_past_is_that_of_their_new_weights(tmp_path: Path) -> None:
    raw = {**SWEEP, "screen": {"scheduler": {"ray": "PopulationBasedTraining"}}}
    tune = FakeTune(make_study(tmp_path, raw), slots=2, native=Sleeper)
    for _ in range(2):
        tune.add()
    heir, donor = tune.get_trials()
    (judge,) = tune.scheduler._native.values()
    for trial in (heir, donor):
        train(tune.study, tune.key(trial), 2)
        trial.status = Trial.PAUSED
    heir.config = {**donor.config, "loss.adversarial": 0.3}
    assert judge.next(tune) is heir
    heir.status = Trial.RUNNING
    assert judge.next(tune) is None  # the donor must not train on before its weights are taken
    scores = [[e.scores for e in tune.study.records[tune.key(t)].epochs] for t in (heir, donor)]
    assert scores[0] != scores[1]
    runs = [tune.study.folder.trial(tune.feed.name(trial)) for trial in (heir, donor)]
    shutil.copytree(runs[1], runs[0], dirs_exist_ok=True)
    assert judge.took_over(heir)
    tune.study.replaced(tune.key(heir), 2)
    assert [e.scores for e in tune.study.records[tune.key(heir)].epochs] == scores[1]
    assert not judge.took_over(heir)
    assert judge.next(tune) is None  # somebody runs; nobody is an heir any more


def test_data_that_were_cut_short_under_a_trial_are_named(tmp_path: Path) -> None:
    """Reading them ends a process by a bare bus error, of which Ray knows no more."""
    tiny_runs.write_data(tmp_path / "data")
    raw = {**SWEEP, "settings": {**SWEEP["settings"], "data": {"path": str(tmp_path / "data")}}}
    tune = FakeTune(make_study(tmp_path / "sweep", raw))
    tune.add()
    (trial,) = tune.get_trials()
    key = tune.key(trial)
    shard = next((tmp_path / "data").glob("*train*.arrow"))
    os.truncate(shard, 100)
    trial.breaks(ConnectionError("worker died"))
    tune.scheduler.on_trial_error(tune, trial)
    failure = tune.study.records[key].failure
    assert failure is not None
    assert failure.startswith(f"{shard}: the shard has 100 bytes")
    assert "run lnln-dist verify" in failure
