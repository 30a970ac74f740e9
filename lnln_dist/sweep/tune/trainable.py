"""The training program as a trainable of Ray Tune, for sweeps and for scripts of one's own."""

import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import ConfigError
from lnln_dist.sweep import records, trial
from lnln_dist.sweep.space import absolute
from lnln_dist.sweep.study import ResourcesConfig

# Tune's own limit, 2 s, is short for a model that is being freed.
LEAVE_S = 120


@dataclass(frozen=True, kw_only=True)
class Seat:
    """What all trials of an experiment share, as it travels to the workers."""

    settings: Mapping[str, Any]
    """Nested; a trial's own dotted settings are laid over them."""
    need: ResourcesConfig
    folder: str | None = None
    """Of the run folders, absolute; None: beside what Tune keeps of each trial."""
    listen: Collection[int] | None = None
    """Epochs after which a group of processes ends to hear Tune's decision; None: each."""
    shown_first: Collection[str] | None = None
    program: trial.Program | None = None

    def config(self, own: Mapping[str, Any]) -> Config:
        """A trial's full settings."""
        return settings.build(settings.lay(self.settings, settings.nest(plain(own))))

    def train(
        self, config: Config, run: Path, on_epoch: Callable[[Any], bool], *, lends: bool
    ) -> Any:
        """Trains in a run folder until ``on_epoch`` answers True or the run ends."""
        program = self.program
        if program is None:
            from lnln_dist.train import program as training

            program = training.run
        return program(
            config,
            run,
            resume=True,
            cpu=self.need.gpus == 0 or None,
            on_epoch=on_epoch,
            lends=lends,
            shown_first=self.shown_first,
        )


def plain(own: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's own settings without numpy's types, which Ray's searchers and schedulers give."""
    return {key: getattr(v, "item", lambda v=v: v)() for key, v in own.items()}


def make_trainable(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    workers: int = 1,
    listen: Collection[int] | None = None,
    program: trial.Program | None = None,
) -> Any:
    """A trainable for ``tune.Tuner`` whose config keys are our dotted settings.

    After every epoch, its checkpoint being committed, it reports flat numbers: ``epoch`` (also as
    ``training_iteration``), ``step``, the validation scores by name, ``loss/TERM``,
    ``samples_per_s``, ``peak_gib``. The checkpoint that Tune keeps is a pointer to the run folder,
    from which a trial goes on after a pause, a kill or on another node. One that got another
    trial's pointer (population based training) goes on with the other's weights and scores; an
    ``origin.json`` in its run folder says whose.

    Args:
        config: a training config's file, or nested settings.
        overrides: dotted settings laid over it.
        folder: of the run folders, on storage that every node sees; None: beside what Tune keeps.
        cpus: of each process.
        gpus: of each process; a fraction lets several trials share one.
        workers: processes of a trial (Ray Train: DDP, ZeRO, FSDP2 by ``train.strategy``).
        listen: epochs after which a trial of several processes ends to hear Tune's decision; each
            such stop costs a start of the group. None: after every epoch.
        program: stands in for the training program in tests.

    Raises:
        ConfigError: the settings are impossible.
    """
    raw = config if isinstance(config, Mapping) else settings.read_config(Path(config))
    settings.check_keys(raw)
    flat = settings.flatten(settings.lay(raw, settings.nest(overrides or {})))
    shared = settings.nest({key: absolute(key, value) for key, value in flat.items()})
    settings.build(shared)
    seat = Seat(
        settings=shared,
        need=ResourcesConfig(cpus=float(cpus), gpus=float(gpus), workers=workers),
        folder=None if folder is None else str(Path(folder).expanduser().absolute()),
        listen=listen,
        program=program,
    )
    return trainable(seat)


def trainable(seat: Seat) -> Any:
    """Tune's trainable for trials of one or several processes."""
    from ray import tune

    from lnln_dist.sweep.tune.group import HEAD, train_as_group

    def train(config: dict[str, Any]) -> None:
        trial.scrub(os.environ)
        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", str(LEAVE_S))
        stay = Stay(seat, config)
        print(stay.name)  # into the worker's log, which the dashboard shows
        for row in records.committed(stay.run):
            stay.tell(row.epoch)
        try:
            with trial.failing_for_good(stay.run):
                train_as_group(seat, stay) if seat.need.workers > 1 else _train(seat, stay)
        finally:
            trial.free_memory()

    train.__mixins__ = (Kept if seat.folder else Named,)  # type: ignore[attr-defined]
    # A trial of several processes only waits for them: it takes no core, and stays on the head
    # node, which outlives others.
    bundle = {HEAD: 0.001} if seat.need.workers > 1 else seat.need.bundle
    return tune.with_resources(train, tune.PlacementGroupFactory([bundle]))


class Named:
    """An actor that the dashboard and `ray list actors --detail` know by its trial."""

    later = ""

    def setup(self, config: dict[str, Any]) -> None:
        """As Tune's, before Ray asks for the name."""
        super().setup(config)  # type: ignore[misc]
        self._name = self.trial_name + self.later  # type: ignore[attr-defined]


class Kept(Named):
    """One that is kept for other trials: Ray asks it only once."""

    later = " and later ones"


class Stay:
    """A trial's stay on a worker: its settings, its run folder and what Tune was told of it.

    Raises:
        UserError: the settings are impossible.
        TransientError: a predecessor still trains there.
    """

    def __init__(self, seat: Seat, own: Mapping[str, Any]) -> None:
        from ray import tune
        from ray.train._internal.session import get_session

        try:
            self.config = seat.config(own)
        except ConfigError as err:
            raise trial.TrialFailedError(str(err)) from None
        context = tune.get_context()
        storage = get_session().storage
        self.storage = Path(storage.experiment_fs_path)
        self.id = context.get_trial_id()
        self._mark = settings.config_hash(self.config)
        pointer = trial.read_pointer(tune.get_checkpoint())
        self.told = pointer["epoch"] if pointer else 0
        self.name = context.get_trial_name()
        own_folder = Path(storage.trial_fs_path) / "run"
        self.run = own_folder if seat.folder is None else Path(seat.folder) / self.name
        trial.clear_torn_start(self.run)
        if pointer and (pointer["trial"], pointer["config"]) != (self.id, self._mark):
            origin = records.Origin(pointer=pointer, values=plain(own))
            if records.read_origin(self.run) != origin:
                trial.hand_on(self.run, self.config, origin)

    def tell(self, epoch: int) -> None:
        """Reports an epoch, unless it is known; does not come back if Tune pauses or stops it."""
        from ray import tune

        if epoch <= self.told:
            return
        row = trial.report_of(self.run, epoch)
        row["training_iteration"] = epoch
        pointer = {"trial": self.id, "config": self._mark, "run": str(self.run), "epoch": epoch}
        self.told = epoch
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "pointer.json").write_text(json.dumps(pointer), encoding="utf-8")
            tune.report(row, checkpoint=tune.Checkpoint.from_directory(folder))

    def check(self, finished: bool) -> None:
        """Refuses an end that is none: starting the trial again would go on for ever."""
        if not finished:
            raise trial.TrialFailedError(f"ended after epoch {self.told} without a word")


def _train(seat: Seat, stay: Stay) -> None:
    left = False

    def on_epoch(report: Any) -> bool:
        nonlocal left
        try:
            stay.tell(report.epoch)
        except SystemExit:  # how Tune lets a trial leave that it pauses or stops
            left = True
        return left

    result = seat.train(stay.config, stay.run, on_epoch, lends=True)
    if left:
        raise SystemExit(0)
    stay.check(result.state.finished)
