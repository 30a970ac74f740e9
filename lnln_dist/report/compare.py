"""Paired tests between models on the same samples, masks and seeds, and what they say in words."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lnln_dist.errors import UserError
from lnln_dist.metrics import DIRECTION
from lnln_dist.report.intervals import ALPHA, Interval, detectable, interval
from lnln_dist.report.models import Model


@dataclass(frozen=True)
class Pair:
    """Two models of one protocol; differences are positive where the first is better."""

    first: Model
    second: Model
    difference: Interval
    p: float
    """After Holm's correction over all pairs of the comparison; nan where undefined."""
    improvement: float
    """Probability that a training of the first beats one of the second; ties count half, nan with
    fewer than two on a side."""
    effect: float
    """Hedges' g over training seeds; nan with fewer than two on a side."""

    @property
    def holds(self) -> bool:
        """Whether one of them is better, after the correction."""
        return self.p < ALPHA

    @property
    def detectable(self) -> float:
        """The least true difference that these samples and seeds would find 4 times in 5."""
        return detectable(self.difference.error, self.difference.freedom)

    def words(self, metric: str) -> str:
        """What holds, as a sentence."""
        d = self.difference
        numbers = f"{metric} better by {abs(d.value):.4f}"
        sign = 1 if d.value >= 0 else -1
        low, high = sorted((sign * d.low, sign * d.high))
        ahead, behind = (self.first, self.second)[::sign]
        p = f"p = {self.p:.3f}" if self.p >= 0.001 else "p < 0.001"
        told = f"(95 % interval {low:z.4f} to {high:z.4f}, {p} after Holm)"
        if self.holds:
            return f"{ahead.name} is better than {behind.name}: {numbers} {told}"
        if np.isnan(self.p):
            return f"{self.first.name} and {self.second.name}: the difference is not defined"
        return (
            f"{ahead.name} and {behind.name} are not distinguishable: {numbers} {told}; a true "
            f"difference of {self.detectable:.4f} would be found 4 times in 5"
        )


def pairs(models: Sequence[Model], metric: str, against: str | None = None) -> list[Pair]:
    """Tests models of one protocol against each other, or all against one.

    Raises:
        UserError: no model is called ``against``.
    """
    names = [model.name for model in models]
    if against is not None and against not in names:
        raise UserError(f"--against {against}: choose one of {', '.join(dict.fromkeys(names))}")
    combinations = [
        (a, b) if a.name != against else (b, a)
        for a, b in itertools.combinations(models, 2)
        if against in (None, a.name, b.name)
    ]
    sign = DIRECTION[metric]
    found = [_turned(interval(a.resampled - b.resampled), sign) for a, b in combinations]
    corrected = holm([d.p for d in found])
    return [
        Pair(a, b, d, p, improvement(a, b, sign), effect(a, b, sign))
        for (a, b), d, p in zip(combinations, found, corrected, strict=True)
    ]


def best(models: Sequence[Model], tested: Sequence[Pair]) -> Model | None:
    """The model that is better than every other of its protocol, if the differences hold."""
    for model in models:
        own = [pair for pair in tested if model in (pair.first, pair.second)]
        won = [p for p in own if p.holds and (p.difference.value > 0) == (p.first is model)]
        if len(models) > 1 and len(won) == len(models) - 1:
            return model
    return None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction; undefined values stay so and do not count."""
    p = np.array(p_values, np.float64)
    known = ~np.isnan(p)
    if known.any():
        p[known] = multipletests(p[known], alpha=ALPHA, method="holm")[1]
    return [float(x) for x in p]


def improvement(first: Model, second: Model, sign: int) -> float:
    """Mann and Whitney's U over the number of pairs of trainings; nan with one on a side."""
    a, b = (sign * model.score_RK.mean(1) for model in (first, second))
    if min(len(a), len(b)) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.nan
    return float(stats.mannwhitneyu(a, b).statistic) / (len(a) * len(b))


def effect(first: Model, second: Model, sign: int) -> float:
    """Difference over the pooled standard deviation of trainings, corrected for their number."""
    a, b = (sign * model.score_RK.mean(1) for model in (first, second))
    freedom = len(a) + len(b) - 2
    if min(len(a), len(b)) < 2:
        return np.nan
    pooled = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom)
    return float((a.mean() - b.mean()) / pooled * (1 - 3 / (4 * freedom - 1))) if pooled else np.nan


def _turned(found: Interval, sign: int) -> Interval:
    low, high = sorted((sign * found.low, sign * found.high))
    return found._replace(value=sign * found.value, low=low, high=high)
