"""Scores as functions of sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lnln_dist.metrics import ALL, scores
from lnln_dist.report.terms import terms_of

FAMILIES = [(family, name) for family, names in ALL.items() for name in names]
N = 12
VALUES = st.integers(-36, 36).map(lambda n: n / 10)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, N, elements=VALUES), arrays(np.float64, N, elements=VALUES))
def test_sums_of_terms_give_the_score(pred: np.ndarray, label: np.ndarray) -> None:
    for family, name in FAMILIES:
        bound = 3 if family == "mosi" else 1
        true = np.clip(label, -bound, bound)
        found = terms_of(name, pred, true, family)
        assert found.score(found.value_NS.sum(0)) == pytest.approx(
            scores(pred, true, family)[name], abs=1e-9, nan_ok=True
        )


@pytest.mark.parametrize(("family", "name"), FAMILIES)
def test_weights_are_repetitions(family: str, name: str) -> None:
    rng = np.random.default_rng(3)
    pred, label = rng.normal(size=(2, N)).clip(-1, 1)
    times = rng.integers(0, 4, N)
    found = terms_of(name, pred, label, family)
    expected = scores(np.repeat(pred, times), np.repeat(label, times), family)[name]
    assert found.score(times @ found.value_NS) == pytest.approx(expected, abs=1e-9)
