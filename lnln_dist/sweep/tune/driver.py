"""The director's trials as trials of Ray Tune."""

import contextlib
import json
import math
import os
import pickle
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.search import Searcher

from lnln_dist.errors import PreemptedError, UserError
from lnln_dist.sweep import preflight
from lnln_dist.sweep.director import Director
from lnln_dist.sweep.live import Board
from lnln_dist.sweep.notice import KEPT, on_notice, stop_tune
from lnln_dist.sweep.records import Epoch
from lnln_dist.sweep.trial import Outcome, Program
from lnln_dist.sweep.tune.cluster import living_nodes
from lnln_dist.sweep.tune.workers import trainable

SLOTS_S = 2.0  # seconds for which a count of the cluster's slots is believed


def run(
    director: Director,
    board: Board,
    ray: Any,
    *,
    program: Program | None = None,
) -> None:
    """Runs a director's sweep to its end on a connected cluster.

    Args:
        program: training program of the trials; None is `train.program.run`.
    """
    need = director.space.sweep.resources
    scratch = director.folder.path / "ray"
    shutil.rmtree(scratch, ignore_errors=True)
    source = Source(director, board, lambda: preflight.capacity(living_nodes(ray), need).slots)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "16"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            trainable(need, program, scratch),
            tune_config=tune.TuneConfig(
                search_alg=source,
                num_samples=-1,
                metric="epoch",
                mode="max",
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["trial"],
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(scratch.absolute()),
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[Failures(source)],
                verbose=0,
            ),
        )
        with on_notice(stop_tune, [signal.SIGTERM]):
            tuner.fit()
    if not director.over:
        if source.halted:
            raise UserError(f"{source.halted}; {KEPT}")
        raise PreemptedError(f"interrupted; {KEPT}")
    shutil.rmtree(scratch, ignore_errors=True)


class Source(Searcher):  # type: ignore[misc]
    """The director as Tune's source of trials: asked for the next stretch, told what happened.

    Args:
        slots: counts the trials that the cluster holds now.
    """

    def __init__(self, director: Director, board: Board, slots: Callable[[], int]) -> None:
        super().__init__(metric="epoch", mode="max")
        self._director = director
        self._board = board
        self._slots = slots
        self._trials: dict[str, str] = {}  # Tune's id -> trial
        self._outcomes: dict[str, Outcome] = {}
        self._losses: Counter[str] = Counter()  # per trial, since this driver was started
        self.halted = ""  # why nothing more is handed out
        self._counted, self._found = -math.inf, 0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its sources down, but a sweep resumes from its own folder."""
        return {}

    def _free(self) -> bool:
        """Nodes come and go; asking Ray every time would be most of what this does."""
        if time.monotonic() - self._counted > SLOTS_S:
            self._counted, self._found = time.monotonic(), max(1, self._slots())
        return len(self._director.running) < self._found

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next stretch of training; None while there is none or no room."""
        if self._director.over or self.halted:
            return Searcher.FINISHED  # type: ignore[no-any-return]
        job = self._director.next() if self._free() else None
        if job is None:
            return None
        self._trials[trial_id] = job.trial
        self._board.started(job)
        return {"trial": job.trial, "job": json.dumps(asdict(job))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """An epoch's scores, or how the stretch ended."""
        if result["told"]:
            self._director.heard(self._trials[trial_id], Epoch(*json.loads(result["told"])))
        if result["outcome"]:
            self._outcomes[trial_id] = Outcome(**json.loads(result["outcome"]))

    def on_trial_complete(self, trial_id: str, error: bool = False, **_: Any) -> None:
        """The end of a stretch; of errors the callback knows the reason."""
        if error:
            return
        outcome = self._outcomes.pop(trial_id)
        if outcome.status == "no room":
            # Every other trial would end the same way: better stop than mark all of them failed.
            self.halted = outcome.reason
            self._director.lost(self._trials[trial_id])
            return
        self._end(trial_id, lambda trial: self._director.ended(trial, outcome))

    def broke(self, trial_id: str, reason: str) -> None:
        """A process or node died under the stretch, or it raised something unforeseen.

        Tune's own retries are not used: they do not cover a worker that dies between two trials.
        """
        trial = self._trials[trial_id]
        self._losses[trial] += 1
        if self._losses[trial] > self._director.space.sweep.resources.retries:
            self._end(trial_id, lambda trial: self._director.gave_up(trial, reason))
            return
        self._board.line(f"{trial}: lost ({reason}), starting it again")
        self._director.lost(trial)

    def _end(self, trial_id: str, tell: Callable[[str], None]) -> None:
        trial = self._trials[trial_id]
        segment = self._director.running[trial].segment
        tell(trial)
        self._board.ended(trial, self._director.records[segment.name, segment.seed])

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class Failures(Callback):  # type: ignore[misc]
    """Tells a source of stretches that ended in an error."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the source."""
        return {}

    def on_trial_error(self, trial: Any, **_: Any) -> None:
        """Its process or node died, or it raised something."""
        self._source.broke(trial.trial_id, _reason(trial))


def _reason(trial: Any) -> str:
    """Last error of a Tune trial in one line."""
    error: Any = None
    with contextlib.suppress(OSError, TypeError, pickle.UnpicklingError):
        # The driver's own copy: the one in the storage may not be there yet.
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())  # noqa: S301 Ray wrote it
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    name = type(cause).__name__
    return (last if last.startswith(name) else f"{name}: {last}")[:400]
