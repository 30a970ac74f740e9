"""Means with intervals: samples, training seeds and noise seeds resampled jointly.

A model's scores under resampling are ``drawn_BRK`` (B resamplings of the samples, R training seeds,
K noise seeds). Samples are resampled in the scores themselves; seeds by weights on R and K, so that
models that share samples and seeds are resampled alike and their difference is paired.

With few seeds a plain bootstrap is too narrow (it misses a factor n / (n - 1) and the tails of
Student's t), and resampling crossed sources at once counts their interactions several times.
Weights are therefore stretched by sqrt(n / (n - 1)), interactions are counted once, and quantiles
are Student's with Satterthwaite's degrees of freedom. The coverage is tested by simulation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
DRAWS = 1000


def counts(rng: np.random.Generator, draws: int, n: int) -> Floats:
    """How often each of n samples is drawn: [draws, n], rows sum to n."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)


def seed_weights(rng: np.random.Generator, draws: int, n: int) -> Floats:
    """Weights [draws, n] of seeds, whose weighted mean has the unbiased variance of the mean.

    A single seed has no spread to show: its weight is 1.
    """
    stretch = np.sqrt(n / (n - 1)) if n > 1 else 0.0
    return 1 + stretch * (counts(rng, draws, n) - 1)


class Weights(NamedTuple):
    """Resampled seeds; models that share seeds share the weights."""

    training_BR: Floats
    noise_BK: Floats


@dataclass(frozen=True)
class Resampled:
    """A score, or a difference of two, with its resamplings, one source of chance at a time."""

    value: float
    draws: dict[str, Floats]
    """Source -> [B]: ``samples``, ``training``, ``noise``, and ``joint`` for all at once."""
    freedom: dict[str, float]
    """Source -> degrees of freedom; 0 for a single seed, of which nothing is known."""

    def __sub__(self, other: "Resampled") -> "Resampled":
        """The difference, paired as far as the draws share samples and weights."""
        draws = {name: self.draws[name] - other.draws[name] for name in self.draws}
        freedom = {name: min(self.freedom[name], other.freedom[name]) for name in self.freedom}
        return Resampled(self.value - other.value, draws, freedom)

    @property
    def variances(self) -> dict[str, float]:
        """Source -> variance of the mean, of the three sources and of all jointly."""
        return {name: float(np.var(drawn, ddof=1)) for name, drawn in self.draws.items()}


def resampled(at_RK: Floats, drawn_BRK: Floats, weights: Weights, samples: int) -> Resampled:
    """A mean over seeds as ``Resampled``.

    Args:
        at_RK: scores on the samples as they are.
        drawn_BRK: scores on resampled samples.
        weights: resampled seeds.
        samples: how many there are.
    """
    runs, seeds = at_RK.shape
    draws = {
        "samples": drawn_BRK.mean((1, 2)),
        "training": weights.training_BR @ at_RK.mean(1) / runs,
        "noise": weights.noise_BK @ at_RK.mean(0) / seeds,
        "joint": np.einsum("brk,br,bk->b", drawn_BRK, *weights) / (runs * seeds),
    }
    freedom = {"samples": samples - 1.0, "training": runs - 1.0, "noise": seeds - 1.0}
    return Resampled(float(at_RK.mean()), draws, freedom)


class Interval(NamedTuple):
    """A mean, its standard error, 95 % interval and test of 0; nan where undefined."""

    value: float
    error: float
    freedom: float
    low: float
    high: float
    p: float  # two-sided; below .05 exactly where the interval leaves 0 out

    def within(self, low: float, high: float) -> "Interval":
        """The interval without values that the score cannot have."""
        return self._replace(low=max(self.low, low), high=min(self.high, high))  # nan stays nan


def interval(found: Resampled) -> Interval:
    """The 95 % interval of a mean over samples and seeds, and the test that goes with it.

    It is never narrower than Student's over the training seeds alone.
    """
    variances = found.variances
    if not np.isfinite([found.value, *variances.values()]).all():
        return Interval(found.value, *[np.nan] * 5)
    joint = variances.pop("joint")
    parts = np.array(list(variances.values()))
    freedom = np.array([found.freedom[name] for name in variances])
    # Each source alone holds its interactions once, all jointly each pair's three times.
    variance = float(np.clip(2 * parts.sum() - joint, parts.max(), parts.sum()))
    known = freedom > 0
    spent = float((parts[known] ** 2 / freedom[known]).sum())
    together = float(parts.sum() ** 2 / spent) if spent > 0 else float(freedom.max())
    candidates = [(float(np.sqrt(variance)), together)]
    if found.freedom["training"] > 0:
        alone = float(np.sqrt(variances["training"]))
        candidates.append((alone, found.freedom["training"]))
    quantile = (1 + CONFIDENCE) / 2
    error, nu = max(candidates, key=lambda c: c[0] * stats.t.ppf(quantile, c[1]))
    half = error * float(stats.t.ppf(quantile, nu))
    p = float(found.value == 0)
    if error > 0:
        p = float(2 * stats.t.sf(abs(found.value) / error, nu))
    return Interval(found.value, error, nu, found.value - half, found.value + half, p)


def student(values: Sequence[float]) -> Interval:
    """Student's interval and test of the mean of some seeds' scores; nan for fewer than two."""
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        return Interval(fmean(values) if n else np.nan, *[np.nan] * 5)
    # By hand where SciPy has a test of its own: a sweep's summary.csv keeps its last digit.
    mean, sd = fmean(values), stdev(values)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    error = sd / math.sqrt(n)
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
    return Interval(mean, error, n - 1, mean - half, mean + half, p)


def interquartile_mean(values: Floats) -> float:
    """Mean of the middle half of the scores of all training and noise seeds."""
    return float(stats.trim_mean(values, 0.25, axis=None))


def detectable(error: float, freedom: float) -> float:
    """The least true difference that a two-sided test at 5 % finds with power .8.

    Args:
        error: standard error of the difference; sd / sqrt(n) for n paired seeds.
        freedom: its degrees of freedom; n - 1.

    Returns:
        The difference; nan where the error is unknown (one seed).
    """
    if not (np.isfinite(error) and freedom > 0):
        return np.nan

    critical = stats.t.ppf(1 - ALPHA / 2, freedom) ** 2

    def lacking(effect: float) -> float:
        # The square of a noncentral t; SciPy's noncentral t itself has gaps at few degrees.
        return float(stats.ncf.sf(critical, 1, freedom, effect**2)) - POWER

    return error * float(optimize.brentq(lacking, 1e-3, 1e3, xtol=1e-6))


def foreseen(seeds: int) -> str:
    """What paired training seeds will be able to tell, said before any is trained."""
    if seeds < 2:
        return "one seed: no difference between settings can be told from the luck of a training"
    least = detectable(1 / seeds**0.5, seeds - 1)
    return (
        f"with {seeds} seeds a true difference of {least:.1f} standard deviations (of the "
        "difference from seed to seed) is found 4 times in 5; smaller ones mostly are not"
    )
