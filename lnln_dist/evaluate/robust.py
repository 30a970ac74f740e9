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

from lnln_dist import settings
from lnln_dist.config import Modality
from lnln_dist.data.summary import label_shift, natural_gaps
from lnln_dist.errors import UserError
from lnln_dist.evaluate.again import asked, circumstances, command
from lnln_dist.evaluate.alarms import (
    collapse,
    collapse_line,
    collapse_of_classes,
    no_better_than_constant,
    swapped,
)
from lnln_dist.evaluate.cases import Case, open_cases, predict_case
from lnln_dist.evaluate.completeness import calibrated
from lnln_dist.evaluate.load import WEIGHTS, build_model, load_weights
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.protocol import Condition, Protocol, distinct, noises_for
from lnln_dist.evaluate.registry import customised, find_protocol
from lnln_dist.evaluate.results import SUMMARY, Results, Subject
from lnln_dist.files import PENDING, explain_os_errors
from lnln_dist.metrics import floors, names, scores
from lnln_dist.report.calibration import COMPLETENESS, alarm
from lnln_dist.report.seeds import condition_name
from lnln_dist.runs import Run
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
    protocol: Protocol | str = "paper",
    rates: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    missing: Sequence[Sequence[Modality]] = (),
    absent: Sequence[Modality] = (),
    checkpoint: str = "best",
    batch_size: int = 128,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = False,
    wanted: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Scores runs under all noise conditions and writes the results; call it on all ranks.

    Args:
        runs: run folders.
        output: folder to write: metrics.csv, predictions.parquet, evaluation.json.
        runtime: this process and its peers.
        data: prepared data; None takes each run's own.
        split: the split to score.
        protocol: what is erased; its name, a YAML file, or itself.
        rates: missing rates in [0, 1]; None takes the protocol's, as do the next three.
        seeds: noise seeds.
        missing: groups of modalities to leave out entirely, beside the protocol's conditions.
        absent: modalities that are wholly absent from all conditions.
        checkpoint: name of a run's best checkpoint, or ``per-metric``.
        batch_size: samples per forward pass and rank.
        workers: loader processes per rank.
        overwrite: replace an earlier evaluation.
        progress: show a bar on the main rank's terminal.
        wanted: what the command in evaluation.json says instead; None: these choices.

    Raises:
        UserError: one of these is impossible, a run or its data cannot be used, they do not fit
            together, or the output cannot be written.
    """
    if not runs:
        raise UserError("nothing to evaluate: give a run")
    noise = {"rates": rates, "seeds": seeds, "missing": missing, "absent": absent}
    choices = {"split": split, "checkpoint": checkpoint, "batch_size": batch_size, **noise}
    wanted = wanted or asked(protocol=protocol, **choices)
    protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
    protocol = customised(protocol, rates=rates, seeds=seeds, missing=missing, absent=absent)
    runtime.on_main(lambda: _check_output(output, overwrite=overwrite))
    cases = open_cases(
        runs, data=None if data is None else str(data), split=split, checkpoint=checkpoint
    )
    scorer = _Scorer(protocol, runtime=runtime, batch_size=batch_size, workers=workers)
    records = scorer.score_all(cases, progress=progress)
    metrics = scorer.results.metrics()
    summary = {
        "format": 1,
        "split": split,
        "protocol": protocol.title,
        "protocol_words": protocol.words(),
        "protocol_definition": protocol.definition(),
        "absent": list(protocol.absent),
        "noise_seeds": list(protocol.seeds),
        "checkpoint": checkpoint,
        "runs": records,
        "alarms": list(dict.fromkeys(scorer.alarms + _of_scores(cases, metrics))),
        "asked": wanted,
        **circumstances(runtime),
    }
    summary["command"] = command(summary)
    runtime.on_main(lambda: scorer.results.write(output, summary, overwrite=overwrite))
    return Evaluation(metrics, summary)


def _of_scores(cases: Sequence[Case], metrics: pd.DataFrame) -> list[str]:
    """The alarms that the scores of a run raise."""
    found = []
    for case in cases:
        own, count = metrics[metrics["run"] == case.name], case.run.config.task.classes
        chosen = [f"acc{count}", f"f1_macro{count}"] if count else ["mae"]
        lines = [swapped(own), no_better_than_constant(own, chosen)]
        found += [f"{case.name}: {line}" for line in lines if line]
    return found


def _collapse(case: Case, sentiment_N: NDArray[np.float32]) -> str:
    label_N, count = case.split.labels, case.run.config.task.classes
    if count:
        return collapse_of_classes(sentiment_N, label_N, case.index.family, count)
    return collapse(sentiment_N, label_N)


class _Scorer:
    """Runs cases through the cells and collects what comes out."""

    def __init__(
        self,
        protocol: Protocol,
        *,
        runtime: Runtime,
        batch_size: int,
        workers: int,
    ) -> None:
        self._cells, self._protocol, self._runtime = protocol.cells(), protocol, runtime
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
            protocol=self._protocol.title,
        )
        label, scored = case.split.labels, (case.index.family, case.index.label_range)
        model = build_model(case.run).to(self._runtime.device)
        notes: dict[str, dict[str, Any]] = {}
        collapsed: list[tuple[str, str]] = []
        # An epoch that is the best by several metrics is predicted with once.
        predicted: dict[tuple[object, ...], dict[Condition, Predictions]] = {}
        for checkpoint, wanted in case.checkpoints.items():
            note = notes[checkpoint] = load_weights(model, case.run, checkpoint)
            selected_on = note.get("selected_on", "unknown")
            chosen = {"checkpoint": checkpoint, "selected_on": selected_on}
            self._note_choice(case, selected_on)
            thresholds = note.get("thresholds")
            same = note[WEIGHTS], *(thresholds or ())
            if same not in predicted:
                predicted[same] = self._predict(case, model, show, thresholds)
            by_condition = predicted[same]
            self._scored += 1
            for cell in self._cells:
                found = by_condition[cell.condition]
                values = scores(found.sentiment, label, *scored)
                values = {name: values[name] for name in wanted}
                erased = {
                    m: _share(taken, case.split.lengths[m]) for m, taken in found.erased.items()
                }
                self.results.add_scores(subject, cell, values, label=label, erased=erased, **chosen)
                if self._runtime.is_main:
                    self.results.add_predictions(
                        subject, cell, found, split=case.split, checkpoint=checkpoint
                    )
                if reason := _collapse(case, found.sentiment):
                    collapsed.append((condition_name(cell.pattern, cell.rate), reason))
            of_cells = [by_condition[cell.condition] for cell in self._cells]
            if told := calibrated(self._cells, of_cells, case.split, case.index):
                notes[checkpoint] = {**note, COMPLETENESS: told.plain()}
                self.alarms += filter(None, [alarm(case.name, told.slope)])
        floor = floors(label, *scored)
        known = names(case.index.family, case.run.config.task.classes)
        self.results.add_floors(subject, {name: floor[name] for name in known}, label=label)
        self._note_gaps(case)
        if collapsed:
            self.alarms.append(collapse_line(case.name, collapsed))
        return _record(case, notes)

    def _note_choice(self, case: Case, selected_on: str) -> None:
        """Says where a checkpoint was chosen on another split than the protocol asks for."""
        asked = self._protocol.selected_on
        own = "an unknown split" if selected_on == "unknown" else selected_on
        line = f"the checkpoint was chosen on {own}, the protocol asks for {asked}"
        if asked not in ("any", selected_on) and line not in case.notes:
            case.notes.append(line)

    def _note_gaps(self, case: Case) -> None:
        """Says what was missing before anything was erased, which no share of ours counts."""
        case.notes.extend(natural_gaps(case.index, case.split.name))
        if case.index.gaps is None and all(grid.pattern == "none" for grid in self._protocol.grids):
            case.notes.append("the natural gaps of these data were not counted: prepare them anew")

    def _predict(
        self,
        case: Case,
        model: nn.Module,
        show: Callable[[float], None],
        thresholds: Sequence[float] | None,
    ) -> dict[Condition, Predictions]:
        """One checkpoint's predictions under every condition."""
        cells = distinct(self._cells)
        found = predict_case(
            case,
            model,
            noises_for(cells, self._protocol.generator, case.split, case.index.padded_lengths),
            runtime=self._runtime,
            batch_size=self._batch_size,
            workers=self._workers,
            thresholds=thresholds,
            before_pass=show,
        )
        return {cell.condition: one for cell, one in zip(cells, found, strict=True)}


def _gaps(case: Case) -> dict[str, Any] | None:
    """Runs that arrived as if erased, per modality of the split; None where nobody counted."""
    if case.index.gaps is None:
        return None
    return {m: of[case.split.name].model_dump() for m, of in case.index.gaps.items()}


def _label_shift(case: Case) -> str | None:
    """Where the labels lie beside those that the run learned from; None where nobody knows."""
    index = case.index
    if index.label_scales is None or case.run.info.data_hash != index.data_hash():
        return None
    return label_shift(index, case.split.name)


def _share(erased_N: NDArray[np.int64], length_N: NDArray[np.int64]) -> float:
    """Erased places over all places of a split; 0 where there are none."""
    return float(erased_N.sum() / max(int(length_N.sum()), 1))


def _training(run: Run) -> dict[str, Any] | None:
    """How it was trained, whatever its model: no seed, place or pace; None where nobody knows."""
    if run.info.origin == "imported":
        return None
    left_out = (settings.BOOKKEEPING - {"recipe"}) | {"train.seed"}
    flat = settings.flatten(settings.to_dict(run.config))
    own = ("model.", "loss.")  # what one family has, another lacks
    return {k: v for k, v in flat.items() if k not in left_out and not k.startswith(own)}


def _record(case: Case, checkpoints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One run's entry in evaluation.json."""
    run = case.run
    return {
        "run": case.name,
        "folder": str(run.folder.resolve()),
        "group": case.group,
        "recipe": run.config.recipe,
        "task": run.config.task.kind,
        "train_seed": case.train_seed,
        "training": _training(run),
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
        "label_shift": _label_shift(case),
        "natural_gaps": _gaps(case),
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
