"""Scores on the fixed noise grid after each epoch."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lnln_dist import metrics
from lnln_dist.config import Config
from lnln_dist.data.shards import ShardedDataset
from lnln_dist.evaluate.predict import predict
from lnln_dist.evaluate.protocol import grid, noise_for
from lnln_dist.runtime import Runtime


class GridScores(NamedTuple):
    """Scores of one noise grid."""

    mean: Mapping[str, float]  # metric -> mean over rates and seeds
    by_rate: Mapping[float, Mapping[str, float]]  # rate -> metric -> mean over seeds
    predictions: NDArray[np.float32]  # of all cells, for a histogram


def validate(
    model: nn.Module,
    dataset: ShardedDataset,
    config: Config,
    runtime: Runtime,
    *,
    leaving: Callable[[], bool],
) -> GridScores | None:
    """Scores ``model`` at every rate and noise seed of ``config.select``, the same each epoch.

    Args:
        model: as ``predict``.
        dataset: the prepared data.
        config: of the run.
        runtime: of this rank.
        leaving: asked before every cell, on all ranks alike; if true nothing is returned.
    """
    select, index = config.select, dataset.index
    split = dataset.split(select.split)
    cells: dict[float, list[dict[str, float]]] = {rate: [] for rate in select.rates}
    predictions = []
    for cell in grid(select.rates, select.seeds):
        if leaving():
            return None
        found = predict(
            model,
            split,
            noise_for(cell, select.noise, split, index.padded_lengths),
            runtime=runtime,
            padding=config.data.padding,
            padded_lengths=index.padded_lengths,
            unk_id=index.tokenizer.unk_id,
            pad_id=index.tokenizer.pad_id,
            batch_size=select.batch_size,
        )
        predictions.append(found.prediction)
        rate = cell.rates["text"]
        cells[rate].append(metrics.scores(found.prediction, split.labels, index.family))
    by_rate = {rate: _mean(list_of) for rate, list_of in cells.items()}
    return GridScores(_mean(list(by_rate.values())), by_rate, np.concatenate(predictions))


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}
