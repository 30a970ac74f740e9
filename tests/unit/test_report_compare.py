"""Tests between models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from lnln_dist.report.compare import effect, holm, improvement
from lnln_dist.report.intervals import detectable


class Scored:
    """A model of which only the scores matter."""

    def __init__(self, *values: float) -> None:
        self.score_RK = np.array(values)[:, None]


VALUES = st.lists(st.integers(-40, 40).map(float), min_size=2, max_size=6)


def test_holm_is_the_textbooks_and_leaves_undefined_values_out() -> None:
    assert holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )
    assert holm([]) == []


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_detectable_difference_is_that_of_the_power_analysis(n: int) -> None:
    sd = 0.3
    effect_size = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert detectable(sd / np.sqrt(n), n - 1) == pytest.approx(effect_size * sd, rel=1e-3)


def test_more_seeds_detect_less() -> None:
    found = [detectable(1 / np.sqrt(n), n - 1) for n in (2, 3, 5, 10)]
    assert found == sorted(found, reverse=True)
    assert np.isnan(detectable(np.nan, 2))


@settings(max_examples=50, deadline=None)
@given(VALUES, VALUES, st.floats(0.1, 10), st.randoms())
def test_improvement_and_effect_do_not_depend_on_order_or_scale(
    a: list[float], b: list[float], scale: float, order: object
) -> None:
    first, second = Scored(*a), Scored(*b)
    shuffled = list(a)
    order.shuffle(shuffled)
    scaled = Scored(*(scale * x for x in shuffled)), Scored(*(scale * x for x in b))
    assert improvement(*scaled, 1) == pytest.approx(improvement(first, second, 1))
    assert improvement(first, second, 1) + improvement(second, first, 1) == pytest.approx(1)
    assert improvement(first, second, -1) == pytest.approx(improvement(second, first, 1))
    assert effect(*scaled, 1) == pytest.approx(effect(first, second, 1), rel=1e-6, nan_ok=True)


def test_effect_is_hedges_g() -> None:
    a, b = [1.0, 2.0, 4.0], [0.0, 1.0, 1.0]
    t = stats.ttest_ind(a, b).statistic
    # d = t sqrt(1/n + 1/m), and the correction 1 - 3 / (4 (n + m - 2) - 1)
    expected = t * np.sqrt(2 / 3) * (1 - 3 / 15)
    assert effect(Scored(*a), Scored(*b), 1) == pytest.approx(expected)
    assert np.isnan(effect(Scored(1.0), Scored(*b), 1))


def test_one_training_tells_no_probability_of_improvement() -> None:
    assert np.isnan(improvement(Scored(1.0), Scored(2.0), 1))
    assert np.isnan(improvement(Scored(1.0, 2.0), Scored(3.0), 1))
    assert improvement(Scored(3.0, 4.0), Scored(1.0, 2.0), 1) == 1
