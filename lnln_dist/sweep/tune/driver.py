"""A study's trials on Ray Tune, from the first to the last decision."""

import itertools
import shutil
import signal
import time
import warnings
from typing import Any

from ray import tune
from ray.tune import Callback

from lnln_dist.errors import PreemptedError, UserError
from lnln_dist.sweep import planner
from lnln_dist.sweep.live import Board
from lnln_dist.sweep.notice import KEPT, stop_tune
from lnln_dist.sweep.space import Space
from lnln_dist.sweep.state import Study
from lnln_dist.sweep.trial import Program
from lnln_dist.sweep.tune import callbacks, native
from lnln_dist.sweep.tune.cluster import capacity, living_nodes
from lnln_dist.sweep.tune.scheduler import Feed, StudyScheduler
from lnln_dist.sweep.tune.trainable import Seat, trainable
from lnln_dist.train.leaving import hearing


def run(study: Study, board: Board, ray: Any, *, program: Program | None = None) -> Any:
    """Runs a study to its end on a connected cluster; returns Tune's ``ResultGrid``.

    Args:
        program: training program of the trials; None is `train.program.run`.
    """
    sweep = study.space.sweep
    scratch = study.folder.path / "ray"
    if not sweep.loggers:
        shutil.rmtree(scratch, ignore_errors=True)
    need = sweep.resources
    feed = Feed(
        study,
        lambda: capacity(living_nodes(ray), need).slots,
        all_at_once=native.needs_all(sweep),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            trainable(seat(study.space, str(study.folder.trials.absolute()), program)),
            tune_config=tune.TuneConfig(
                scheduler=StudyScheduler(feed, board.line, native.scheduler(sweep, study)),
                search_alg=feed,
                num_samples=-1,
                metric=study.metric,
                mode="min" if study.direction < 0 else "max",
                reuse_actors=True,
                trial_name_creator=feed.name,
                trial_dirname_creator=feed.name,
            ),
            run_config=tune.RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S"),
                storage_path=str(scratch.absolute()),
                failure_config=tune.FailureConfig(max_failures=need.retries),
                # Pointers of a few bytes, which population based training goes back to.
                checkpoint_config=tune.CheckpointConfig(num_to_keep=None),
                callbacks=[Told(board, feed), *callbacks.build(sweep)],
                verbose=0,
            ),
        )
        with hearing(stop_tune, [signal.SIGTERM]):
            results = tuner.fit()
    if not study.over:
        if study.halted:
            raise UserError(f"{study.halted}; {KEPT}")
        raise PreemptedError(f"interrupted; {KEPT}")
    if not sweep.loggers:
        shutil.rmtree(scratch, ignore_errors=True)
    return results


def seat(space: Space, folder: str, program: Program | None) -> Seat:
    """What all trials of a study share."""
    lengths = {made.epochs for made in space.settings} or {space.common.train.epochs}
    decisions = itertools.chain(*planner.milestones(space.sweep, max(lengths)))
    by_ray = not isinstance(space.sweep.screen.scheduler, str)
    return Seat(
        settings=space.shared,
        need=space.sweep.resources,
        folder=folder,
        # A scheduler of Ray's may decide after any epoch.
        listen=None if by_ray else sorted(lengths.union(decisions)),
        shown_first=space.swept,
        program=program,
    )


class Told(Callback):  # type: ignore[misc]
    """Shows on the terminal what Tune does, and tells the study which of its trials began."""

    def __init__(self, board: Board, feed: Feed) -> None:
        self._board, self._feed = board, feed

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: what is shown is not kept."""
        return {}

    def on_trial_start(self, *, trial: Any, **_: Any) -> None:
        """A worker has it."""
        self._feed.started(trial)
        self._board.started(str(trial))

    def on_trial_result(self, *, trial: Any, **_: Any) -> None:
        """The scheduler has heard of an epoch before."""
        self._board.told(str(trial))

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        """It was stopped or is through."""
        self._board.told(str(trial), ended=True)
