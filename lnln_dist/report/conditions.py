"""What each model predicted under each condition, and the aggregates that a report shows of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lnln_dist.metrics import Family
from lnln_dist.report.models import Model
from lnln_dist.report.read import RunScores
from lnln_dist.report.seeds import condition_name
from lnln_dist.report.terms import class_names, classes

BINS = 8  # of lengths, as equally full as ties allow
Floats = NDArray[np.float64]


class Condition(NamedTuple):
    """What was erased, whatever the seed."""

    pattern: str
    rate: float

    @property
    def name(self) -> str:
        """As a reader knows it: a rate, or a pattern."""
        return condition_name(*self)


@dataclass(frozen=True)
class Outputs:
    """A model's predictions; every training and noise seed is a row S of a condition."""

    ids: list[str]
    label_N: Floats
    prediction_SN: Mapping[Condition, Floats]
    completeness_SN: Mapping[Condition, Floats]
    """Empty where the model predicts none."""
    first_N: Mapping[Condition, Floats]
    """Mean over the training seeds under the first noise seed."""


def outputs_of(model: Model, metric: str) -> Outputs:
    """The predictions behind one score of a model.

    Raises:
        UserError: predictions are missing.
    """
    prediction: dict[Condition, list[Floats]] = {}
    completeness: dict[Condition, list[Floats]] = {}
    first: dict[Condition, list[Floats]] = {}
    for run in model.runs:
        rows, found = run.outputs(metric)
        samples = int(run.record["samples"])
        value_CN = found["prediction"].to_numpy(np.float64).reshape(-1, samples)
        share_CN = None
        if "completeness" in found and found["completeness"].notna().all():
            share_CN = found["completeness"].to_numpy(np.float64).reshape(-1, samples)
        cells = zip(rows["pattern"], rows["rate"], rows["noise_seed"], strict=True)
        for c, (pattern, rate, seed) in enumerate(cells):
            at = Condition(str(pattern), float(rate))
            prediction.setdefault(at, []).append(value_CN[c])
            if share_CN is not None:
                completeness.setdefault(at, []).append(share_CN[c])
            if seed == rows["noise_seed"].min():
                first.setdefault(at, []).append(value_CN[c])
    one = found.iloc[:samples]
    return Outputs(
        one["id"].astype(str).tolist(),
        one["label"].to_numpy(np.float64),
        {at: np.stack(values) for at, values in prediction.items()},
        {at: np.stack(values) for at, values in completeness.items()},
        {at: np.mean(values, axis=0) for at, values in first.items()},
    )


def confusion(out: Outputs, family: Family, count: int = 0) -> dict[Condition, list[list[int]]]:
    """How often each true class (rows) was predicted as each (columns), over all seeds."""
    size = len(class_names(family, count))
    true_N = classes(out.label_N, family, count)
    tables = {}
    for at, prediction_SN in out.prediction_SN.items():
        place = true_N * size + classes(prediction_SN, family, count)
        counted = np.bincount(place.ravel(), minlength=size * size)
        tables[at] = counted.reshape(size, size).tolist()
    return tables


def calibration(out: Outputs) -> dict[Condition, tuple[float, float]]:
    """Mean and spread over samples of the predicted completeness; seeds averaged first."""
    means = {at: share_SN.mean(0) for at, share_SN in out.completeness_SN.items()}
    return {at: (float(mean_N.mean()), float(mean_N.std())) for at, mean_N in means.items()}


class Lengths(NamedTuple):
    """Samples sorted into bins by their number of tokens."""

    names: list[str]
    bin_N: NDArray[np.intp]
    sizes: list[int]


def bins_of(length_N: NDArray[np.int64]) -> Lengths:
    """Bins with as equally many samples as lengths in common allow."""
    cut = pd.qcut(length_N, BINS, duplicates="drop")
    # Interpolated edges can leave a bin without a sample.
    _, bin_N = np.unique(cut.codes, return_inverse=True)
    edges = [length_N[bin_N == b] for b in range(int(bin_N.max()) + 1)]
    return Lengths(
        [f"{e.min()} to {e.max()}" if e.min() < e.max() else f"{e.min()}" for e in edges],
        bin_N,
        [len(e) for e in edges],
    )


def error_by_length(out: Outputs, bins: Lengths) -> dict[Condition, list[float]]:
    """Mean absolute error of the samples of each bin, over all seeds."""
    found = {}
    for at, prediction_SN in out.prediction_SN.items():
        error_N = np.abs(prediction_SN - out.label_N).mean(0)
        sums = np.bincount(bins.bin_N, weights=error_N, minlength=len(bins.names))
        found[at] = (sums / np.array(bins.sizes)).tolist()
    return found


def metrics_of(runs: Sequence[RunScores]) -> list[str]:
    """Scores that all runs have and that mean something for these labels, in their order."""
    own = [run.metrics.dropna(subset=["value"])["metric"].unique().tolist() for run in runs]
    return [str(name) for name in own[0] if all(name in names for names in own)]
