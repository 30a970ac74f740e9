"""Classes of the sentiment: where they are cut, their weights, and how one is decided on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_sample_weight

from lnln_dist.classes import (
    COUNTS,
    class_values,
    cut,
    decide,
    fit_thresholds,
    macro_f1,
    macro_f1_of,
    targets,
)

ALL = [(family, count) for family, counts in COUNTS.items() for count in counts]


@pytest.mark.parametrize(
    ("family", "count", "values", "classes"),
    [
        ("mosi", 3, [-3, -0.6, -0.5, 0, 0.5, 0.6, 9], [0, 0, 1, 1, 1, 2, 2]),
        ("mosi", 7, [-9, -2.6, -2.5, -1.5, 0.4, 1.5, 2.5, 2.6], [0, 0, 1, 1, 3, 5, 5, 6]),
        ("sims", 3, [-1, -0.1, 0, 0.1, 0.2], [0, 0, 1, 1, 2]),
        ("sims", 5, [-0.7, -0.6, 0, 0.1, 0.2, 0.7, 0.8], [0, 1, 2, 2, 3, 3, 4]),
    ],
)
def test_edges_are_those_of_the_scores(
    family: str, count: int, values: list, classes: list
) -> None:
    assert cut(np.array(values, np.float32), family, count).tolist() == classes


@pytest.mark.parametrize(("family", "count"), ALL)
def test_a_class_value_lies_in_its_class(family: str, count: int) -> None:
    assert cut(class_values(family, count), family, count).tolist() == list(range(count))


@pytest.mark.parametrize("family", list(COUNTS))
def test_fewer_classes_are_unions_of_more(family: str) -> None:
    """So a decision on seven classes has the scores of five and three."""
    label = np.linspace(-3, 3, 601)
    for count in COUNTS[family]:
        for fewer in (n for n in COUNTS[family] if n < count):
            merged = class_values(family, count)[cut(label, family, count)]
            assert (cut(merged, family, fewer) == cut(label, family, fewer)).all()


def test_balanced_weights_count_every_class_the_same() -> None:
    label = np.array([-1.0] * 6 + [0.0] * 3 + [2.0])
    found = targets(label, "mosi", 3, balanced=True)
    assert found.weight_N == pytest.approx(compute_sample_weight("balanced", found.class_N))
    assert found.weight_N.mean() == pytest.approx(1)
    assert (targets(label, "mosi", 3, balanced=False).weight_N == 1).all()


def test_classes_that_do_not_occur_take_no_share() -> None:
    found = targets(np.array([-1.0, -1.0, 2.0]), "mosi", 7, balanced=True)
    assert found.weight_N == pytest.approx([0.75, 0.75, 1.5])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, told = np.array(pairs).T
    assert macro_f1_of(told, true, 4) == pytest.approx(f1_score(true, told, average="macro"))


def test_macro_f1_of_nothing_is_undefined() -> None:
    assert np.isnan(macro_f1(np.zeros(3), np.zeros(3), np.zeros(3)))


def test_without_thresholds_the_likeliest_class_is_told() -> None:
    probability = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    assert decide(probability, None).tolist() == [0, 2]
    assert decide(probability, [1 / 3] * 3).tolist() == [0, 2]
    assert decide(probability, [0.7, 0.2, 0.1]).tolist() == [2, 2]


def test_two_classes_have_the_usual_threshold() -> None:
    p = np.linspace(0.01, 0.99, 99)
    assert (decide(np.stack([1 - p, p], 1), [0.695, 0.305]) == (p > 0.305)).all()


def predictions(seed: int, count: int, size: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Unequal classes, and probabilities that know a little of them."""
    rng = np.random.default_rng(seed)
    true = rng.choice(count, size, p=np.arange(1, count + 1) / np.arange(1, count + 1).sum())
    logits = rng.normal(size=(size, count)) + 1.5 * np.eye(count)[true] + np.arange(count)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), true


@pytest.mark.parametrize(("seed", "count"), [(0, 3), (1, 3), (2, 5), (3, 7)])
def test_thresholds_raise_macro_f1_to_what_no_single_change_betters(seed: int, count: int) -> None:
    probability, true = predictions(seed, count)

    def score(thresholds: np.ndarray | None) -> float:
        return f1_score(true, decide(probability, thresholds), average="macro")

    found = np.array(fit_thresholds(probability, true))
    assert found.sum() == pytest.approx(1)
    assert (found > 0).all()
    best = score(found)
    assert best > score(None) + 0.01
    for number in range(count):
        for factor in np.exp(np.linspace(-4, 4, 81)):
            other = found.copy()
            other[number] *= factor
            assert score(other) <= best + 1e-12


def test_thresholds_of_three_classes_are_near_the_best_of_a_grid() -> None:
    probability, true = predictions(0, 3)
    grid = np.exp(np.linspace(-3, 3, 41))
    best = max(
        f1_score(true, decide(probability, [1, a, b]), average="macro") for a in grid for b in grid
    )
    found = decide(probability, fit_thresholds(probability, true))
    assert f1_score(true, found, average="macro") > best - 0.01


def test_right_predictions_keep_their_thresholds_and_ties_fall_together() -> None:
    right = np.eye(3)[[0, 1, 2, 2]] * 0.7 + 0.1
    assert fit_thresholds(right, np.array([0, 1, 2, 2])) == pytest.approx([1 / 3] * 3)
    same = np.tile([0.5, 0.3, 0.2], (5, 1))
    told = decide(same, fit_thresholds(same, np.array([1, 1, 1, 0, 2])))
    assert told.tolist() == [1] * 5
