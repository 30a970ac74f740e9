"""Scores on the fixed noise grid after each epoch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lnln_dist import metrics
from lnln_dist.config import Config
from lnln_dist.data.shards import ShardedDataset
from lnln_dist.errors import TrainingError
from lnln_dist.evaluate.predict import Predictions, predict
from lnln_dist.evaluate.protocol import Cell, distinct, grid, noises_for
from lnln_dist.report.calibration import COMPLETENESS, Calibration, calibration
from lnln_dist.runtime import Runtime
from lnln_dist.specs.spec import check_extras


class GridScores(NamedTuple):
    """Scores of one noise grid."""

    mean: Mapping[str, float]  # metric -> mean over rates and seeds
    by_rate: Mapping[float, Mapping[str, float]]  # rate -> metric -> mean over seeds
    predictions: NDArray[np.float32]  # of all cells, for a histogram
    completeness: Calibration | None = None  # where the model predicts one


class _LeavingError(Exception):
    """Told to leave in the middle of a grid."""


def validate(
    task: nn.Module,
    dataset: ShardedDataset,
    config: Config,
    runtime: Runtime,
    *,
    leaving: Callable[[], bool],
) -> GridScores | None:
    """Scores ``task`` at every rate and noise seed of ``config.select``, the same each epoch.

    Args:
        task: as ``Runtime.evaluation`` gives it.
        dataset: the prepared data.
        config: of the run.
        runtime: of this rank.
        leaving: asked before every forward pass, on all ranks alike; if true nothing is returned.

    Raises:
        ConfigError: one of the network's extras has the name of a column of the results.
    """
    select, index = config.select, dataset.index
    split = dataset.split(select.split)
    cells = grid(select.rates, select.seeds)
    conditions = distinct(cells)

    def stay_or_leave(_: float) -> None:
        if leaving():
            raise _LeavingError

    try:
        found = predict(
            task,
            split,
            noises_for(conditions, select.noise, split, index.padded_lengths),
            runtime=runtime,
            padding=config.data.padding,
            padded_lengths=index.padded_lengths,
            unk_id=index.tokenizer.unk_id,
            pad_id=index.tokenizer.pad_id,
            batch_size=select.batch_size,
            workers=config.data.workers,
            # Through the task, where the hooks of sharded modules bring weights together.
            forward=partial(task, verb="predict"),
            # Ranks encode new texts unequally often, which a sharded encoder does not allow.
            remember=not runtime.launch.sharded,
            before_pass=stay_or_leave,
        )
    except _LeavingError:
        return None
    lost = sum(int(np.count_nonzero(~np.isfinite(p.sentiment))) for p in found)
    if lost:
        raise TrainingError(
            f"{lost} of {len(found) * len(split)} predictions for {select.split} are not finite: "
            "lower optim.lr, or train in fp32; the last checkpoint is intact"
        )
    check_extras(found[0].extras, model=config.model.name)  # those the spec left out, too
    by_condition = {c.condition: p.sentiment for c, p in zip(conditions, found, strict=True)}
    predictions = [by_condition[cell.condition] for cell in cells]
    scores: dict[float, list[dict[str, float]]] = {rate: [] for rate in select.rates}
    for cell, own in zip(cells, predictions, strict=True):
        found_scores = metrics.scores(own, split.labels, index.family, index.label_range)
        scores[cell.rates["text"]].append(found_scores)
    by_rate = {rate: _mean(list_of) for rate, list_of in scores.items()}
    told = _calibrated(conditions, found)
    return GridScores(_mean(list(by_rate.values())), by_rate, np.concatenate(predictions), told)


def _calibrated(cells: Sequence[Cell], found: Sequence[Predictions]) -> Calibration | None:
    told: dict[float, list[NDArray[np.float32]]] = {}
    for cell, own in zip(cells, found, strict=True):
        if COMPLETENESS in own.extras:
            told.setdefault(cell.rates["text"], []).append(own.extras[COMPLETENESS])
    return calibration(told) if told else None


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}
