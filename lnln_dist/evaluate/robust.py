"""Robust evaluation: every run under every noise condition, as one folder of results."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import nn

from lnln_dist import __version__
from lnln_dist.config import Modality
from lnln_dist.errors import UserError
from lnln_dist.evaluate.alarms import collapse, collapse_line, swapped
from lnln_dist.evaluate.cases import Case, open_cases, predict_case
from lnln_dist.evaluate.load import build_model, load_weights
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.protocol import (
    RANDOM,
    RATES,
    SEEDS,
    Cell,
    ProtocolName,
    distinct,
    grid,
    missing_cells,
    noises_for,
)
from lnln_dist.evaluate.results import SUMMARY, Results, Subject
from lnln_dist.files import PENDING, explain_os_errors
from lnln_dist.metrics import floors, scores
from lnln_dist.report.calibration import COMPLETENESS, alarm, calibration
from lnln_dist.runs import git_commit, installed_versions
from lnln_dist.runtime import Runtime


class Evaluation(NamedTuple):
    """What an evaluation found; the same on every rank."""

    metrics: pd.DataFrame  # the rows of metrics.csv
    summary: dict[str, Any]  # evaluation.json


def evaluate_runs(
    runs: Sequence[Path],
    *,
    output: Path,
    runtime: Runtime,
    data: Path | str | None = None,
    split: str = "test",
    protocol: ProtocolName = "paper",
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] | None = None,
    missing: Sequence[Sequence[Modality]] = (),
    absent: Sequence[Modality] = (),
    checkpoint: str = "best",
    batch_size: int = 128,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Scores runs under all noise conditions and writes the results; call it on all ranks.

    Args:
        runs: run folders.
        output: folder to write: metrics.csv, predictions.parquet, evaluation.json.
        runtime: this process and its peers.
        data: prepared data; None takes each run's own.
        split: the split to score.
        protocol: whose evaluation noise.
        rates: missing rates in [0, 1], each for all modalities alike.
        seeds: noise seeds; None takes the protocol's.
        missing: groups of modalities to leave out entirely, beside the rates.
        absent: modalities that are wholly absent at every rate.
        checkpoint: name of a run's best checkpoint, or ``per-metric``.
        batch_size: samples per forward pass and rank.
        workers: loader processes per rank.
        overwrite: replace an earlier evaluation.
        progress: show a bar on the main rank's terminal.

    Raises:
        UserError: one of these is impossible, a run or its data cannot be used, they do not fit
            together, or the output cannot be written.
    """
    seeds = SEEDS[protocol] if seeds is None else seeds
    cells = [*grid(rates, seeds, absent), *missing_cells(missing, (*seeds, *SEEDS[protocol])[0])]
    if not runs or not cells:
        raise UserError("nothing to evaluate: give a run, and a rate with a seed or --missing")
    runtime.on_main(lambda: _check_output(output, overwrite=overwrite))
    cases = open_cases(
        runs, data=None if data is None else str(data), split=split, checkpoint=checkpoint
    )
    scorer = _Scorer(
        cells, protocol=protocol, runtime=runtime, batch_size=batch_size, workers=workers
    )
    records = scorer.score_all(cases, progress=progress)
    metrics = scorer.results.metrics()
    summary = {
        "format": 1,
        "split": split,
        "protocol": protocol,
        "absent": list(absent),
        "rates": list(rates),
        "noise_seeds": list(seeds),
        "missing": ["+".join(group) for group in missing],
        "checkpoint": checkpoint,
        "runs": records,
        "alarms": scorer.alarms + _swapped_arguments(cases, metrics),
        **_circumstances(runtime),
    }
    runtime.on_main(lambda: scorer.results.write(output, summary, overwrite=overwrite))
    return Evaluation(metrics, summary)


def _circumstances(runtime: Runtime) -> dict[str, Any]:
    return {
        "world_size": runtime.world,
        "precision": runtime.precision,
        "lnln_dist": __version__,
        "git_commit": git_commit(),
        "versions": installed_versions(),
    }


def _swapped_arguments(cases: Sequence[Case], metrics: pd.DataFrame) -> list[str]:
    found = {case.name: swapped(metrics[metrics["run"] == case.name]) for case in cases}
    return [f"{name}: {line}" for name, line in found.items() if line]


class _Scorer:
    """Runs cases through the cells and collects what comes out."""

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        protocol: ProtocolName,
        runtime: Runtime,
        batch_size: int,
        workers: int,
    ) -> None:
        self._cells, self._protocol, self._runtime = cells, protocol, runtime
        self._batch_size, self._workers = batch_size, workers
        self.results = Results()
        self.alarms: list[str] = []
        self._scored = 0  # checkpoints

    def score_all(self, cases: Sequence[Case], *, progress: bool) -> list[dict[str, Any]]:
        """Scores runs under all conditions; returns their entries in evaluation.json."""
        console = Console(stderr=True)
        hidden = not (progress and self._runtime.is_main and console.is_terminal)
        total = sum(len(case.checkpoints) for case in cases)
        with Progress(console=console, transient=True, disable=hidden) as bar:
            task = bar.add_task("evaluating", total=total)

            def show(share: float) -> None:
                bar.update(task, completed=self._scored + share)

            return [self._score(case, show) for case in cases]

    def _score(self, case: Case, show: Callable[[float], None]) -> dict[str, Any]:
        subject = Subject(
            run=case.name,
            model=case.run.config.model.name,
            train_seed=case.train_seed,
            split=case.split.name,
            protocol=self._protocol,
        )
        label, scored = case.split.labels, (case.index.family, case.index.label_range)
        model = build_model(case.run).to(self._runtime.device)
        notes: dict[str, dict[str, Any]] = {}
        collapsed: list[tuple[str, str]] = []
        for checkpoint, wanted in case.checkpoints.items():
            note = notes[checkpoint] = load_weights(model, case.run, checkpoint)
            selected_on = note.get("selected_on", "unknown")
            chosen = {"checkpoint": checkpoint, "selected_on": selected_on}
            by_condition = self._predict(case, model, show)
            told: dict[float, list[NDArray[np.float32]]] = {}  # predicted completeness, by rate
            self._scored += 1
            for cell in self._cells:
                found = by_condition[cell.condition]
                values = scores(found.sentiment, label, *scored)
                values = {name: values[name] for name in wanted}
                self.results.add_scores(subject, cell, values, label=label, **chosen)
                if self._runtime.is_main:
                    self.results.add_predictions(
                        subject, cell, found, split=case.split, checkpoint=checkpoint
                    )
                if COMPLETENESS in found.extras and cell.pattern == RANDOM:
                    told.setdefault(cell.rates["text"], []).append(found.extras[COMPLETENESS])
                if reason := collapse(found.sentiment, label):
                    collapsed.append((_condition(cell), reason))
            if told:
                found_slope = calibration(told)
                notes[checkpoint] = {**note, COMPLETENESS: found_slope.plain()}
                self.alarms += filter(None, [alarm(case.name, found_slope.slope)])
        self.results.add_floors(subject, floors(label, *scored), label=label)
        if collapsed:
            self.alarms.append(collapse_line(case.name, collapsed))
        return _record(case, notes)

    def _predict(
        self, case: Case, model: nn.Module, show: Callable[[float], None]
    ) -> dict[tuple[float, ...], Predictions]:
        """One checkpoint's predictions under every condition."""
        cells = distinct(self._cells)
        found = predict_case(
            case,
            model,
            noises_for(cells, self._protocol, case.split, case.index.padded_lengths),
            runtime=self._runtime,
            batch_size=self._batch_size,
            workers=self._workers,
            before_pass=show,
        )
        return {cell.condition: one for cell, one in zip(cells, found, strict=True)}


def _condition(cell: Cell) -> str:
    return f"{cell.rate:g}" if cell.pattern == RANDOM else cell.pattern


def _record(case: Case, checkpoints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One run's entry in evaluation.json."""
    run = case.run
    return {
        "run": case.name,
        "folder": str(run.folder.resolve()),
        "group": case.group,
        "recipe": run.config.recipe,
        "train_seed": case.train_seed,
        "config_hash": run.info.config_hash,
        "origin": run.info.origin,
        "git_commit": run.info.git_commit,
        "trained_on": {"dataset": run.info.dataset, "data_hash": run.info.data_hash},
        "data": case.data,
        "dataset": case.index.dataset,
        "data_hash": case.index.data_hash(),
        "family": case.index.family,
        "label_range": list(case.index.label_range),
        "samples": len(case.split),
        "padding": run.config.data.padding,
        "checkpoints": dict(checkpoints),
        "notes": case.notes,
    }


def _check_output(output: Path, *, overwrite: bool) -> None:
    """Refuses a folder that cannot be written, before an hour of computing is spent on it."""
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists: choose another folder, remove it or pass --overwrite")
    if output.exists() and not (output / SUMMARY).is_file():
        raise UserError(f"{output} is not an evaluation: --overwrite would lose what it holds")
    with explain_os_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=PENDING):
            pass
