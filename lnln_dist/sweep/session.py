"""One session of a sweep: from its YAML to its summary."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lnln_dist.console import counted
from lnln_dist.data.shards import open_dataset
from lnln_dist.errors import ConfigError, UserError
from lnln_dist.files import held
from lnln_dist.sweep import figures, hparams, space, summary
from lnln_dist.sweep.folder import Folder
from lnln_dist.sweep.live import Board, duration
from lnln_dist.sweep.notice import leave
from lnln_dist.sweep.results import Results
from lnln_dist.sweep.space import Space
from lnln_dist.sweep.state import Proposer, Study
from lnln_dist.sweep.study import SweepConfig, read
from lnln_dist.sweep.trial import Program
from lnln_dist.train.against_data import check_scores
from lnln_dist.train.leaving import hearing

ROWS = 40  # settings listed by a dry run


class Outcome(NamedTuple):
    """What a session leaves."""

    summary: Path
    grid: Any
    """Tune's ``ResultGrid`` of the trials that ran in this session; None: nothing was to do."""
    barren: list[str]
    """As ``Results.barren``."""


def describe(made: Space, *, seconds_per_epoch: float | None) -> str:
    """What a dry run prints: the settings, their number and the expected cost."""
    cost, sweep = made.expected(), made.sweep
    lines = []
    width = max((len(s.stratum) for s in made.settings), default=0)
    for setting in made.settings[:ROWS]:
        lines.append(f"{setting.stratum:<{width}}  {setting.key}  {setting.name}")
    if len(made.settings) > ROWS:
        lines.append(f"... {len(made.settings) - ROWS} more")
    if sweep.search.proposes:
        proposed = counted(sweep.search.samples or 0, "setting")
        lines.append(f"{proposed} per stratum, proposed from the results")
    if made.dropped:
        lines.append(f"dropped as equal to another setting: {', '.join(made.dropped)}")
    count = len(made.settings) or (sweep.search.samples or 0) * len(made.strata)
    lines.append(
        f"{counted(count, 'setting')} x {counted(len(sweep.seeds), 'seed')} in "
        f"{counted(len(made.strata), 'stratum', 'strata')}; the best {sweep.confirm.best} of each "
        "stratum will be confirmed on all seeds"
    )
    lines.append(
        f"about {counted(round(cost.trials), 'trial')} and {counted(round(cost.epochs), 'epoch')}; "
        f"the full grid has {counted(count * len(sweep.seeds), 'trial')} and "
        f"{counted(cost.full, 'epoch')}"
    )
    with contextlib.suppress(ImportError):  # a dry run does without SciPy, which comes with Ray
        from lnln_dist.report.intervals import foreseen

        lines.append(foreseen(len(sweep.seeds)))
    if seconds_per_epoch:
        lines.append(
            f"about {duration(cost.epochs * seconds_per_epoch)} of worker time at "
            f"{seconds_per_epoch:g} s per epoch"
        )
    for check in (_proposer, _check_data):
        try:
            with contextlib.suppress(ImportError):  # a dry run does without Ray, too
                check(made)
        except UserError as err:
            # Not refused: a sweep may be planned where its data and libraries are not.
            lines.append(f"would not start here: {err}")
    return "\n".join(lines)


def run(
    sweep: SweepConfig,
    output: Path,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    address: str | None = None,
    cpus: int | None = None,
    wait_s: float = 0.0,
    program: Program | None = None,
) -> Outcome:
    """Runs or resumes a sweep.

    Args:
        sweep: a frozen sweep.
        output: its folder.
        resume: go on with what is there.
        retry_failed: resume, and try failed trials again.
        address: of a Ray cluster; None is RAY_ADDRESS, else this machine.
        cpus: cores of a cluster of this machine; None: all that may be used.
        wait_s: how long to wait for a cluster to grow until a trial fits.
        program: training program of the trials; None is `train.program.run`.

    Raises:
        UserError: settings, data, folder or cluster do not allow it.
    """
    resume = resume or retry_failed
    made = space.resolve(sweep)
    propose = _proposer(made)
    data = _check_data(made) if program is None else {}
    folder = Folder(output.expanduser().absolute())
    new = not (folder.path / "settings.json").exists()
    folder.create(resume=resume)
    with held(folder.path, wait_s=0):
        folder.adopt(made, data)
        study = Study(made, folder, propose)
        folder.save(made, data)
        if retry_failed:
            study.retry_failed()
        board = Board(study)
        if new and resume:
            # A misspelt --output would else look like a sweep that has lost everything.
            board.line(f"{folder.path} holds no sweep yet: a new one is started")
        for name in made.dropped:
            board.line(f"dropped as equal to another setting: {name}")
        board.line(f"TensorBoard: tensorboard --logdir {folder.trials}")
        grid = None
        try:
            if not study.over:
                with hearing(leave):
                    grid = _train(study, board, address, cpus, wait_s, program)
        finally:
            results = Results(folder.path)
            summary.write(results)
            hparams.write(results)
        figures.draw(results)
    return Outcome(folder.path / "summary.md", grid, results.barren)


def _proposer(made: Space) -> Proposer | None:
    """The source of settings that are not known from the start, all names of Ray's checked."""
    sweep = made.sweep
    by_ray = sweep.search.proposes or not isinstance(sweep.screen.scheduler, str)
    if by_ray or sweep.callbacks or sweep.loggers:
        from lnln_dist.sweep.tune import native, searchers

        native.check(made)
        if sweep.search.proposes:
            return searchers.proposer(sweep)
    return None


def _train(
    study: Study,
    board: Board,
    address: str | None,
    cpus: int | None,
    wait_s: float,
    program: Program | None,
) -> Any:
    # Imported here: a dry run, a mistake in the YAML or `sweep show` must not wait for Ray.
    from lnln_dist.sweep.tune import cluster, driver

    need = study.space.sweep.resources
    # Twice: Ray hears SIGTERM in its own way once it is connected.
    with cluster.cluster(address, cpus=cpus) as ray, hearing(leave):
        found = cluster.wait_for(ray, need, seconds=wait_s)
        board.line(str(found))
        if found.gpus and not need.gpus:
            board.line("the trials train on the CPU: set resources.gpus to use the GPUs")
        data = sorted(_data_paths(study.space)) if program is None else []
        cluster.check_nodes(ray, study.folder.path, data)
        with board:
            return driver.run(study, board, ray, program=program)


def _data_paths(made: Space) -> set[str]:
    return {setting.data for setting in made.settings} or {made.common.data.path}


def _check_data(made: Space) -> dict[str, str]:
    """Finds missing data or an unknown objective before a cluster is started.

    Returns:
        The data's hashes by folder.
    """
    hashes = {}
    for path in sorted(_data_paths(made)):
        if not path:
            raise ConfigError(
                "data.path is empty: set it to a folder written by `lnln-dist prepare`"
            )
        index = open_dataset(path).index
        seed = made.sweep.seeds[0]
        own = [made.config(s.values, seed) for s in made.settings if s.data == path]
        for config in own or [made.common]:
            check_scores(config, index)
        hashes[path] = index.data_hash()
    return hashes


def show(path: Path) -> str:
    """Brings a sweep's summary and figures up to date, also while it runs; returns the text."""
    results = Results(path)
    failed = any(map(results.failures, results.settings))
    if not results.epochs and not failed:
        trials = [made.trial(seed) for made, seed, _ in results.trials]
        begun = {name: results.folder.trial(name).is_dir() for name in trials}
        lines = [f"- {name}: {'begun' if there else 'waiting'}" for name, there in begun.items()]
        return "\n".join([f"{path}: no trial has finished an epoch yet", *lines]) + "\n"
    summary.write(results)
    figures.draw(results)
    return (path / "summary.md").read_text(encoding="utf-8")


def frozen(config: Path, overrides: Sequence[str]) -> SweepConfig:
    """A sweep's YAML with overrides, independent of any other file."""
    return space.freeze(read(config, overrides))
