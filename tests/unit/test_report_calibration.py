"""Slope and spread of predicted completeness, and the alarm."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lnln_dist.report.calibration import FOLLOWS, alarm, calibration, described, there_at

share = st.floats(0, 1, width=32)


@given(st.dictionaries(st.integers(0, 10), st.lists(share, min_size=1, max_size=4), min_size=2))
def test_the_slope_is_that_of_a_regression_of_the_means(told: dict[int, list[float]]) -> None:
    found = calibration({rate / 10: values for rate, values in told.items()})
    means = [np.mean(told[rate]) for rate in sorted(told)]
    expected = stats.linregress([1 - rate / 10 for rate in sorted(told)], means)
    assert found.slope == pytest.approx(expected.slope, abs=1e-9)
    assert list(found.by_rate) == sorted(rate / 10 for rate in told)


def test_it_is_held_against_what_is_there() -> None:
    told = {0.0: [0.7], 0.5: [0.35], 1.0: [0.0]}  # three tenths of the places were never there
    assert calibration(told).slope == pytest.approx(0.7)
    assert calibration(told, {0.0: 0.7, 0.5: 0.35, 1.0: 0.0}).slope == pytest.approx(1)
    found = calibration(told, {0.0: 1.0, 0.5: 0.65, 1.0: 0.3})
    assert found.slope == pytest.approx(1)
    record = {"checkpoints": {"mae": {}, "best": {"completeness": found.plain()}}}
    assert there_at(record, 0.5) == 0.65
    assert there_at({}, 0.4) == there_at(record, 0.4) == 0.6


def test_mean_and_spread_count_every_sample_and_seed() -> None:
    found = calibration({0.5: [np.array([0.2, 0.4]), np.array([0.6, 0.8])]})
    assert found.by_rate == {0.5: (pytest.approx(0.5), pytest.approx(math.sqrt(0.05)))}
    assert math.isnan(found.slope)  # of one rate
    assert math.isnan(calibration({0.0: [0.5], 0.5: [math.nan]}).slope)


@pytest.mark.parametrize(
    ("slope", "alarmed"),
    [(0.0, True), (-1.0, True), (FOLLOWS - 1e-9, True), (FOLLOWS, False), (math.nan, False)],
)
def test_an_idle_check_is_an_alarm(slope: float, alarmed: bool) -> None:
    assert bool(alarm("run", slope)) is alarmed


def test_it_is_told_in_words() -> None:
    told = calibration({0.0: [0.9], 0.4: [0.7, 0.7], 0.9: [0.4, 0.6]}).plain()
    assert described(told) == (
        "0.90 (sd 0.00) at rate 0 to 0.50 (sd 0.10) at rate 0.9, slope 0.44 (1 is calibrated, 0 a "
        "constant)"
    )
    assert described(calibration({0.5: [0.5]}).plain()) == "0.50 (sd 0.00) at rate 0.5"
    assert described({**told, "slope": None}).endswith("at rate 0.9")  # as JSON says it
