"""Scores on the fixed noise grid after each epoch."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lnln_dist import metrics
from lnln_dist.classes import cut, fit_thresholds
from lnln_dist.config import Config
from lnln_dist.data.measure import normalisation
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import ShardedDataset, Split
from lnln_dist.errors import TrainingError
from lnln_dist.evaluate.completeness import calibrated
from lnln_dist.evaluate.predict import Predictions, decided, predict
from lnln_dist.evaluate.protocol import Cell, distinct, grid, noises_for
from lnln_dist.report.calibration import Calibration
from lnln_dist.runtime import Runtime


class GridScores(NamedTuple):
    """Scores of one noise grid."""

    mean: Mapping[str, float]  # metric -> mean over rates and seeds
    by_rate: Mapping[float, Mapping[str, float]]  # rate -> metric -> mean over seeds
    predictions: NDArray[np.float32]  # of all cells, for a histogram
    thresholds: tuple[float, ...] | None = None  # of the classes, the best for these predictions
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
        leaving: asked before every batch, on all ranks alike; if true nothing is returned.

    Raises:
        TrainingError: predictions are not finite.
    """
    select, index = config.select, dataset.index
    split = dataset.split(select.split)
    cells = grid(select.rates, select.seeds)
    conditions = distinct(cells)

    passes = itertools.count()

    def stay_or_leave(_: float) -> None:
        # Ranks meet to answer: once per batch, which goes through all conditions.
        if next(passes) % len(conditions) == 0 and leaving():
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
            normalised=normalisation(index, wanted=config.data.normalise),
            # Through the task, where the hooks of sharded modules bring weights together.
            forward=partial(task, verb="predict"),
            # Ranks encode new texts unequally often, which a sharded encoder does not allow.
            remember=not runtime.launch.sharded,
            before_pass=stay_or_leave,
        )
    except _LeavingError:
        return None
    lost = sum(p.lost for p in found)
    if lost:
        raise TrainingError(
            f"{lost} of {len(found) * len(split)} predictions for {select.split} are not finite: "
            "lower optim.lr, or train in fp32; the last checkpoint is intact"
        )
    by_condition = {c.condition: p for c, p in zip(conditions, found, strict=True)}
    return _scored(cells, [by_condition[cell.condition] for cell in cells], split, config, index)


def _scored(
    cells: Sequence[Cell], found: Sequence[Predictions], split: Split, config: Config, index: Index
) -> GridScores:
    """Decides on classes, if there are some, and scores every cell."""
    family, count, thresholds = index.family, config.task.classes, None
    if count and config.task.decision == "thresholds":
        class_N = np.tile(cut(split.labels, family, count), len(cells))
        thresholds = fit_thresholds(np.concatenate([p.sentiment for p in found]), class_N)
    predictions = [decided(p, family, thresholds).sentiment for p in found]
    by_rate: dict[float, list[dict[str, float]]] = {}
    for cell, own in zip(cells, predictions, strict=True):
        scores = metrics.scores(own, split.labels, family, index.label_range)
        kept = {name: scores[name] for name in metrics.names(family, count)}
        by_rate.setdefault(cell.rates["text"], []).append(kept)
    means = {rate: _mean(of_seeds) for rate, of_seeds in by_rate.items()}
    everything = np.concatenate(predictions)
    told = calibrated(cells, found, split, index)
    return GridScores(_mean(list(means.values())), means, everything, thresholds, told)


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}
