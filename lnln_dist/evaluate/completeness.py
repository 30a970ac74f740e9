"""How the completeness that a model predicts goes with what is there of the text."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lnln_dist.data.schema import Index
from lnln_dist.data.shards import Split
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.protocol import Cell
from lnln_dist.report.calibration import COMPLETENESS, Calibration, calibration
from lnln_dist.report.seeds import RANDOM


def calibrated(
    cells: Sequence[Cell], found: Sequence[Predictions], split: Split, index: Index
) -> Calibration | None:
    """Predicted completeness by rate, and its slope; None where a model predicts none.

    Args:
        cells: conditions and seeds; those of random places count.
        found: the predictions of each.
        split: the samples.
        index: of their data. Where their texts have natural gaps the prediction is held against
            the share of tokens that is there, neither a gap nor erased; else against 1 - rate.
    """
    told: dict[float, list[NDArray[np.float32]]] = defaultdict(list)
    erased: dict[float, list[int]] = defaultdict(list)
    for cell, own in zip(cells, found, strict=True):
        if COMPLETENESS in own.extras and cell.pattern == RANDOM:
            told[cell.rates["text"]].append(own.extras[COMPLETENESS])
            erased[cell.rates["text"]].append(int(own.erased["text"].sum()))
    if not told:
        return None
    if not (index.gaps and "text" in index.splits[split.name].seen):
        return calibration(told)
    gaps, places = index.gaps["text"][split.name].places, int(split.lengths["text"].sum())
    there = {rate: 1 - (gaps + float(np.mean(taken))) / places for rate, taken in erased.items()}
    return calibration(told, there)
