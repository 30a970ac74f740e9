"""One training run from config to finished run folder; sweeps and the command line call this."""

import os
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lnln_dist.config import Config
from lnln_dist.data.damage import explain_damaged_data
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import ShardedDataset, open_dataset
from lnln_dist.errors import ConfigError, PreemptedError
from lnln_dist.files import held
from lnln_dist.runtime import Runtime
from lnln_dist.runtime.launcher import check_variables
from lnln_dist.train.against_data import check_against_data
from lnln_dist.train.checkpoint import TrainState
from lnln_dist.train.claim import WAIT_S, claim
from lnln_dist.train.consistency import check_equal_on_ranks, facts_of
from lnln_dist.train.leaving import (
    Notice,
    explain_lost_peers,
    explain_out_of_memory,
)
from lnln_dist.train.loop import EpochReport, Training, train
from lnln_dist.train.setup import Ties, assemble


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    state: TrainState
    wall_s: float
    peak_gib: float


def run(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    cpu: bool | None = None,
    on_epoch: Callable[[EpochReport], bool | None] | None = None,
    lends: bool = False,
    shown_first: Collection[str] | None = None,
    notice: Notice | None = None,
) -> Result:
    """Trains ``config`` into ``folder``.

    Args:
        config: the resolved settings; ``data.path`` is a folder written by ``prepare``.
        folder: the run folder.
        resume: go on from the newest checkpoint in ``folder``, or start if there is none.
        overwrite: remove what ``folder`` holds first.
        cpu: train on the CPU even where there is a GPU.
        on_epoch: told of every epoch once its checkpoint is committed; a true answer on the main
            process ends the run there.
        lends: the folder's lock is let go of while ``on_epoch`` answers: it may wait for long, and
            end in favour of another process that goes on with the run.
        shown_first: settings that TensorBoard's HPARAMS page shows at once; None: the changed ones.
        notice: already listening for signals, if the caller began to before.

    Raises:
        PreemptedError: told to leave.
        UserError: settings, data, folder or launch do not allow the run.
    """
    begin = time.perf_counter()
    dataset = _open(config)
    notice, hold, failed = notice or Notice(), ExitStack(), False
    runtime = _make_runtime(config, dataset.index, notice, cpu=cpu)
    notice.at_work = True
    try:
        # Told to leave while it still sets up, a run leaves after its first step, else before it.
        with (
            notice.listening(),
            explain_lost_peers(runtime.rank, runtime.world, config.train.timeout_s),
            explain_out_of_memory(runtime.rank),
            explain_damaged_data(config.data.path),
        ):
            if any(runtime.gather_objects(notice.given)):
                raise PreemptedError("told to leave before the first step: start it again to train")
            how = {"resume": resume, "overwrite": overwrite}
            runtime.on_main(lambda: claim(folder, config, dataset.index, hold=hold, **how))
            if on_epoch and lends and runtime.is_main:
                on_epoch = _lending(on_epoch, folder, hold)
            ties = Ties(notice=notice, on_epoch=on_epoch, shown_first=shown_first)
            training = assemble(config, folder, dataset, runtime, ties)
            _to_the_end(training)
        peak = max(runtime.gather_objects(runtime.peak_memory())) / 2**30
        return Result(folder, training.state, time.perf_counter() - begin, peak)
    except BaseException as err:
        failed = not isinstance(err, PreemptedError)  # all ranks leave together
        raise
    finally:
        hold.close()
        runtime.close(failed=failed)


def _lending(
    on_epoch: Callable[[EpochReport], bool | None], folder: Path, hold: ExitStack
) -> Callable[[EpochReport], bool | None]:
    """``on_epoch``, the folder's lock let go of while it answers."""

    def told(report: EpochReport) -> bool | None:
        hold.close()
        ends = on_epoch(report)
        if not ends:
            hold.enter_context(held(folder, wait_s=WAIT_S))
        return ends

    return told


def _open(config: Config) -> ShardedDataset:
    if not config.data.path:
        raise ConfigError("data.path is empty: set it to a folder written by `lnln-dist prepare`")
    dataset = open_dataset(config.data.path)
    check_against_data(config, dataset.index)
    return dataset


def _to_the_end(training: Training) -> None:
    limits, state = training.config.train, training.state
    patient = not limits.patience or state.epochs_without_gain < limits.patience
    if patient and state.step < training.steps_per_epoch * limits.epochs:
        state.finished = False  # it was, before its training was lengthened
    if training.state.finished:
        training.progress.line(f"{training.folder} has finished already")
    else:
        training.progress.line(training.runtime.set_up())
        if state.step:
            of = training.steps_per_epoch
            training.progress.line(
                f"going on after step {state.step}, epoch {state.step // of} of {limits.epochs}"
                + (f" and {state.step % of} of {of} steps" if state.step % of else "")
            )
        try:
            with training.progress:
                train(training)
        finally:
            training.saver.close()
    if training.writer:
        training.writer.close()


def _make_runtime(config: Config, index: Index, notice: Notice, *, cpu: bool | None) -> Runtime:
    """Of this rank, once all ranks are there and found to be alike."""
    check_variables(os.environ)
    rank, world = (int(os.environ.get(n, d)) for n, d in (("RANK", "0"), ("WORLD_SIZE", "1")))
    with explain_lost_peers(rank, world, config.train.timeout_s):
        return Runtime(
            precision=config.train.precision,
            cpu=cpu,
            strategy=config.train.strategy,
            offload=config.train.offload,
            timeout_s=config.train.timeout_s,
            agree=lambda peers, launch: check_equal_on_ranks(
                peers, facts_of(config, index, launch)
            ),
            told=lambda: notice.given,
        )
