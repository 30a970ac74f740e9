"""Intervals over samples and seeds."""

import numpy as np
import pytest
from scipy import stats

from lnln_dist.report.intervals import (
    Resampled,
    Weights,
    counts,
    foreseen,
    interquartile_mean,
    interval,
    resampled,
    seed_weights,
    student,
)


def made(y_RKN: np.ndarray, *, draws: int = 1000, seed: int = 0) -> Resampled:
    """The mean of y over samples, averaged over seeds."""
    runs, seeds, n = y_RKN.shape
    rng = np.random.default_rng(seed)
    sampled = counts(np.random.default_rng(1), draws, n)
    weights = Weights(seed_weights(rng, draws, runs), seed_weights(rng, draws, seeds))
    drawn = (sampled @ y_RKN.reshape(-1, n).T / n).reshape(draws, runs, seeds)
    return resampled(y_RKN.mean(2), drawn, weights, n)


def test_training_seeds_alone_give_students_interval_and_test() -> None:
    values = np.array([0.3, 0.1, 0.7, 0.4, 0.2])
    found = interval(made(np.repeat(values[:, None, None], 8, axis=2), draws=100_000))
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.005)
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.03)
    assert student(values)[3:5] == pytest.approx((low, high))
    assert np.isnan(student(values[:1]).within(0.0, 1.0)[3:5]).all()
    assert student([0.5, 0.5])[1:] == (0.0, 1, 0.5, 0.5, 0.0)


def test_samples_alone_give_the_standard_error_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(1, 2, 400)
    found = interval(made(values[None, None], draws=20_000))
    assert found.error == pytest.approx(stats.sem(values), rel=0.02)
    assert found.freedom == 399


def test_a_difference_is_paired_by_samples_and_seeds() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4, 3, 50)) + 10 * rng.normal(size=(4, 1, 1))
    shift = 0.1 + 0.01 * rng.normal(size=y.shape)
    apart, paired = interval(made(y)), interval(made(y + shift) - made(y))
    assert apart.error > 1
    assert paired.error < 0.02
    assert paired.p < 0.01


def test_the_interval_excludes_0_where_the_test_is_significant() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        found = interval(made(0.25 + rng.normal(size=(3, 2, 20)), draws=100))
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


# Standard deviations of: training, noise, samples, training x samples, noise x samples, rest.
@pytest.mark.parametrize(
    ("runs", "seeds", "sds"),
    [
        (5, 3, (0.05, 0, 0.8, 0.3, 0.4, 0.2)),
        (3, 3, (0.2, 0, 0.3, 0.3, 0.4, 0.2)),
    ],
)
def test_95_percent_of_the_intervals_hold_the_truth(
    runs: int, seeds: int, sds: tuple[float, ...]
) -> None:
    rng, n, held, draws = np.random.default_rng(0), 100, 0, 1200
    shapes = [(runs, 1, 1), (1, seeds, 1), (1, 1, n), (runs, 1, n), (1, seeds, n), (runs, seeds, n)]
    for i in range(draws):
        parts = [sd * rng.normal(size=shape) for sd, shape in zip(sds, shapes, strict=True)]
        found = interval(made(sum(parts, np.zeros(shapes[-1])), draws=200, seed=i))
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / draws <= 0.97


def test_the_interquartile_mean_leaves_out_the_outer_quarters() -> None:
    assert interquartile_mean(np.array([[0.0, 1.0], [2.0, 100.0]])) == 1.5


def test_an_undefined_score_has_no_interval() -> None:
    y = np.ones((2, 2, 5))
    y[0, 0, 0] = np.nan
    found = interval(made(y, draws=50))
    assert np.isnan([found.low, found.high, found.p]).all()


def test_what_a_sweep_can_tell_is_said_before_it_starts() -> None:
    assert "one seed" in foreseen(1)
    least = [float(foreseen(n).split(" of ")[1].split()[0]) for n in (2, 3, 5, 10)]
    assert least == sorted(least, reverse=True)
    # Simulated: five differences of standard deviation 1 around that mean.
    drawn = np.random.default_rng(0).normal(least[2], 1, (4000, 5))
    found = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.03)
