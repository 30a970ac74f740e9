"""Averages over noise seeds, rates and runs."""

import math

import pytest

from lnln_dist.report.seeds import over_runs


def test_runs_get_mean_and_sample_deviation() -> None:
    found = over_runs([{"mae": 1.0, "corr": 0.5}, {"mae": 3.0, "corr": math.nan}])
    assert found.loc["mae"].tolist() == pytest.approx([2.0, math.sqrt(2)])
    assert found.loc["corr"].isna().all()


def test_one_run_has_no_deviation() -> None:
    assert math.isnan(over_runs([{"mae": 1.0}]).loc["mae", "sd"])
