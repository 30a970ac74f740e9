"""Scores against scikit-learn, scipy, the released code's stored numbers and published floors."""

import json
import math
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score

from lnln_dist.metrics import (
    ALL,
    DIRECTION,
    LABEL_RANGE,
    METRICS,
    defined,
    floors,
    left_out,
    robustness,
    scores,
)

# Names in the released code's results -> ours.
OFFICIAL = {
    "Has0_acc_2": "acc2_has0",
    "Has0_F1_score": "f1_has0",
    "Non0_acc_2": "acc2_non0",
    "Non0_F1_score": "f1_non0",
    "Mult_acc_5": "acc5",
    "Mult_acc_7": "acc7",
    "MAE": "mae",
    "Corr": "corr",
}


def random_pair(*, size: int, seed: int, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels on the data set's grid of tenths of the range, predictions around them."""
    rng = np.random.default_rng(seed)
    label = (rng.integers(-15, 16, size) * (high / 15)).astype(np.float32)
    prediction = (label + rng.normal(0, high / 2, size)).astype(np.float32)
    return prediction, label


def sims_class(value: np.float32, edges: list[float]) -> int:
    """The class by plain comparisons with float32 edges."""
    value = np.clip(value, np.float32(-1), np.float32(1))
    return sum(bool(value > np.float32(edge)) for edge in edges)


class TestAgainstOracles:
    @pytest.mark.parametrize("seed", range(5))
    def test_mosi(self, seed: int) -> None:
        pred, true = random_pair(size=400, seed=seed, high=3.0)
        got = scores(pred, true, "mosi")
        told = true != 0
        want = {
            "acc2_non0": accuracy_score(true[told] > 0, pred[told] > 0),
            "f1_non0": f1_score(true[told] > 0, pred[told] > 0, average="weighted"),
            "acc2_has0": accuracy_score(true >= 0, pred >= 0),
            "f1_has0": f1_score(true >= 0, pred >= 0, average="weighted"),
            "mae": np.mean(np.abs(pred.astype(float) - true.astype(float))),
            "corr": pearsonr(pred.astype(float), true.astype(float)).statistic,
        }
        for name, bound in (("acc7", 3), ("acc5", 2), ("acc3", 1)):
            classes = [[round(min(max(float(v), -bound), bound)) for v in x] for x in (true, pred)]
            want[name] = accuracy_score(*classes)
            want[f"f1_macro{2 * bound + 1}"] = f1_score(*classes, average="macro")
        assert 0 < np.count_nonzero(~told) < 400
        assert got == pytest.approx(want, rel=1e-12)
        assert tuple(got) == ALL["mosi"]

    @pytest.mark.parametrize("seed", range(5))
    def test_sims(self, seed: int) -> None:
        pred, true = random_pair(size=400, seed=seed, high=1.0)
        true = np.round(true * 5) / np.float32(5)
        got = scores(pred, true, "sims")
        clipped = np.clip(pred.astype(float), -1, 1)
        want = {
            "acc2": accuracy_score(true > 0, pred > 0),
            "f1": f1_score(true > 0, pred > 0, average="weighted"),
            "mae": np.mean(np.abs(clipped - true.astype(float))),
            "corr": pearsonr(clipped, true.astype(float)).statistic,
        }
        for name, edges in (("acc5", [-0.7, -0.1, 0.1, 0.7]), ("acc3", [-0.1, 0.1])):
            classes = [[sims_class(v, edges) for v in x] for x in (true, pred)]
            want[name] = accuracy_score(*classes)
            want[name.replace("acc", "f1_macro")] = f1_score(*classes, average="macro")
        assert np.any(np.abs(pred) > 1)
        assert got == pytest.approx(want, rel=1e-12)
        assert tuple(got) == ALL["sims"]

    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
    def test_weighted_f1_of_any_table(self, pairs: list[tuple[bool, bool]]) -> None:
        true, pred = np.array(pairs).T * 2.0 - 1
        want = f1_score(true, pred, average="weighted", zero_division=0.0)
        assert scores(pred, true, "sims")["f1"] == pytest.approx(want)
        assert scores(pred, true, "mosi")["f1_non0"] == pytest.approx(want)

    def test_the_released_code_at_ten_rates(self, shared) -> None:
        folder = shared / "parity" / "official_evaluation"
        expected = json.loads((folder / "expected.json").read_text())
        with (folder / "mosi_small.pkl").open("rb") as file:
            label = pickle.load(file)["test"]["regression_labels"]
        assert len(expected) == 10
        for case in expected.values():
            got = scores(np.array(case["preds"]), label, "mosi")
            for theirs, ours in OFFICIAL.items():
                digits = 1.5e-4 if ours in ("mae", "corr") else 1e-9
                want = case["metrics"][theirs]
                assert round(got[ours], 4) == pytest.approx(want, abs=digits), ours


class TestSwappedF1:
    """The defect of results published before April 2025: prediction and truth exchanged."""

    def test_a_constant_predictor(self) -> None:
        label = np.array([-1.0] * 7 + [1.0] * 3)
        constant = np.full(10, -0.5)
        share = 0.7
        assert scores(constant, label, "sims")["f1"] == pytest.approx(2 * share**2 / (1 + share))
        swapped = scores(label, constant, "sims")["f1"]
        assert swapped == pytest.approx(2 * share / (1 + share))
        assert swapped > scores(constant, label, "sims")["acc2"]

    def test_the_stored_scores_are_not_swapped(self, shared) -> None:
        folder = shared / "parity" / "official_evaluation"
        expected = json.loads((folder / "expected.json").read_text())
        with (folder / "mosi_small.pkl").open("rb") as file:
            label = pickle.load(file)["test"]["regression_labels"]
        swapped = [
            scores(label, np.array(case["preds"]), "mosi")["f1_has0"] for case in expected.values()
        ]
        stored = [case["metrics"]["Has0_F1_score"] for case in expected.values()]
        assert np.max(np.abs(np.subtract(swapped, stored))) > 1e-3


class TestEdges:
    def test_halves_round_to_even(self) -> None:
        label = np.array([2.0, 0.0, -2.0, -3.0])
        assert scores([2.5, 0.5, -1.5, -2.5], label, "mosi")["acc7"] == 0.75

    def test_values_beyond_the_range_count_as_its_end(self) -> None:
        assert scores([9.0, -9.0], [3.0, -3.0], "mosi")["acc7"] == 1
        assert scores([9.0, -9.0], [2.0, -2.4], "mosi")["acc5"] == 1
        assert scores([9.0, -9.0], [0.6, -1.0], "mosi")["acc3"] == 1
        assert scores([9.0, -9.0], [3.0, -3.0], "mosi")["mae"] == 6
        assert scores([9.0, -9.0], [1.0, -1.0], "sims")["mae"] == 0

    def test_zero_is_left_out_or_not_negative(self) -> None:
        got = scores([-1.0, 1.0, 0.0], [0.0, 1.0, -1.0], "mosi")
        assert got["acc2_non0"] == 1  # 0 > 0 is false: a prediction of zero tells "negative"
        assert got["acc2_has0"] == pytest.approx(1 / 3)

    @pytest.mark.parametrize("edge", [-0.7, -0.1, 0.1, 0.7])
    def test_sims_edges_belong_to_the_lower_class(self, edge: float) -> None:
        on = np.float32(edge)
        below, above = np.nextafter(on, np.float32(-9)), np.nextafter(on, np.float32(9))
        name = "acc5" if abs(edge) > 0.5 else "acc3"
        assert scores([on], [below], "sims")[name] == 1
        assert scores([on], [above], "sims")[name] == 0

    @pytest.mark.parametrize("edge", [-0.7, 0.1])
    def test_float64_edges_would_move_labels(self, edge: float) -> None:
        # The negative control: widened to float64 these labels lie above their own edge.
        assert float(np.float32(edge)) > edge
        assert scores([np.float32(edge)], [edge - 0.05], "sims")["acc5"] == 1
        assert scores([np.float32(edge)], [edge + 0.05], "sims")["acc5"] == 0

    def test_sims_zero_is_not_positive(self) -> None:
        assert scores([0.0], [-0.5], "sims")["acc2"] == 1
        assert scores([0.0], [0.2], "sims")["acc2"] == 0


class TestUndefined:
    # 0.1 times any count does not sum up exactly: a variance of zero must not be asked for.
    @pytest.mark.parametrize("constant", [0.0, 0.1, -2.3, 1e30])
    def test_a_constant_has_no_correlation(self, constant: float) -> None:
        label = np.array([-1.0, 0.2, 1.0] * 37)
        flat = np.full(label.shape, constant)
        assert math.isnan(scores(flat, label, "mosi")["corr"])
        assert math.isnan(scores(label, flat, "mosi")["corr"])

    def test_clipping_can_make_a_prediction_constant(self) -> None:
        assert math.isnan(scores([1.5, 2.0], [0.2, 0.4], "sims")["corr"])
        assert scores([1.5, 2.0], [0.2, 0.4], "mosi")["corr"] == pytest.approx(1)

    def test_one_sample_has_no_correlation(self) -> None:
        assert math.isnan(scores([1.0], [1.0], "sims")["corr"])

    def test_only_neutral_labels(self) -> None:
        got = scores([1.0, -1.0], [0.0, 0.0], "mosi")
        assert math.isnan(got["acc2_non0"])
        assert math.isnan(got["f1_non0"])
        assert got["acc2_has0"] == 0.5

    @pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
    def test_correlation_of_any_magnitude(self, scale: float) -> None:
        pred, label = random_pair(size=50, seed=3, high=3.0)
        want = pearsonr(pred.astype(float), label.astype(float)).statistic
        got = scores(pred.astype(float) * scale, label, "mosi")["corr"]
        assert got == pytest.approx(want, rel=1e-9)

    @pytest.mark.parametrize(
        ("prediction", "label", "match"),
        [
            ([1.0, 2.0], [1.0], r"\[2\] and labels \[1\]"),
            ([[1.0]], [[1.0]], "must both be"),
            ([[1.0], [2.0]], [1.0, 2.0], "must both be"),
            ([], [], "empty"),
            ([math.nan, 1.0], [1.0, 1.0], "1 of 2 predictions are not finite"),
            ([1.0, 1.0], [math.inf, 1.0], "1 of 2 labels are not finite"),
        ],
    )
    def test_bad_input(self, prediction: list, label: list, match: str) -> None:
        for family in METRICS:
            with pytest.raises(ValueError, match=match):
                scores(prediction, label, family)

    def test_unknown_family(self) -> None:
        with pytest.raises(ValueError, match="unknown family 'mosei': choose one of mosi, sims"):
            scores([1.0], [1.0], "mosei")


class TestFloors:
    def test_published_floors_of_mosi(self, shared) -> None:
        path = shared / "data" / "mosi_real" / "mosi_full.pkl"
        if not path.exists():
            pytest.skip("real CMU-MOSI is not beside this checkout")
        with path.open("rb") as file:
            label = pickle.load(file)["test"]["regression_labels"]
        got = floors(label, "mosi")
        per_cent = {name: round(100 * value, 2) for name, value in got.items()}
        assert per_cent["acc2_non0"] == 57.77
        assert per_cent["acc2_has0"] == 55.25
        assert per_cent["f1_non0"] == 42.31
        assert per_cent["f1_has0"] == 39.32
        assert got["mae"] == pytest.approx(np.mean(np.abs(label - np.median(label))), rel=1e-6)

    @pytest.mark.parametrize(
        ("family", "negative", "positive", "accuracy", "f1"),
        [
            # Negative/positive counts of the MOSEI test split and of CH-SIMS's (<= 0 / > 0).
            ("mosei", 1350, 2284, 62.85, 48.51),
            ("sims", 317, 140, 69.37, 56.82),
        ],
    )
    def test_published_floors_from_counts(
        self, family: str, negative: int, positive: int, accuracy: float, f1: float
    ) -> None:
        label = np.array([-0.5] * negative + [0.5] * positive)
        names = ("acc2", "f1") if family == "sims" else ("acc2_non0", "f1_non0")
        got = floors(label, "sims" if family == "sims" else "mosi")
        assert [round(100 * got[name], 2) for name in names] == [accuracy, f1]

    @pytest.mark.parametrize("family", list(METRICS))
    @pytest.mark.parametrize("seed", range(4))
    def test_no_constant_does_better(self, family: str, seed: int) -> None:
        low, high = LABEL_RANGE[family]
        rng = np.random.default_rng(seed)
        label = np.clip(rng.normal(high / 4, high / 2, 101), low, high).astype(np.float32)
        best = floors(label, family)
        reached = Counter()
        medians = [float(np.median(label))]
        for constant in [*np.linspace(1.3 * low, 1.3 * high, 401), *medians]:
            got = scores(np.full(label.shape, constant), label, family)
            for name in ALL[family]:
                if name == "corr":
                    continue
                gap = DIRECTION[name] * (best[name] - got[name])
                assert gap >= -1e-12, (name, constant)
                reached[name] += gap < 1e-12
        assert all(reached[name] for name in ALL[family] if name != "corr")
        assert math.isnan(best["corr"])

    def test_bad_labels(self) -> None:
        with pytest.raises(ValueError, match="empty"):
            floors([], "mosi")
        with pytest.raises(ValueError, match="not finite"):
            floors([math.nan], "sims")


class TestRobustness:
    # LNLN on MOSI, mean absolute error by rate (arXiv 2409.20012, Table 9).
    MAE = (0.751, 0.820, 0.891, 0.953, 0.987, 1.059, 1.147, 1.219, 1.283, 1.349)

    def test_published_curve(self) -> None:
        curve = {i / 10: value for i, value in enumerate(self.MAE)}
        got = robustness(curve, direction=-1)
        assert round(got.mean, 3) == 1.046
        assert round(got.area * 0.9, 3) == 0.941
        assert got.worst == 1.349
        assert got.drop == pytest.approx(1.349 - 0.751)

    def test_direction(self) -> None:
        curve = {0.9: 0.5, 0.0: 0.8, 0.5: 0.4}
        up = robustness(curve, direction=1)
        assert (up.worst, up.drop) == (0.4, pytest.approx(0.3))
        assert up.area == pytest.approx((0.5 * 0.6 + 0.4 * 0.45) / 0.9)
        down = robustness(curve, direction=-1)
        assert (down.worst, down.drop) == (0.8, pytest.approx(-0.3))

    def test_one_rate(self) -> None:
        assert robustness({0.5: 0.7}, direction=1) == (0.7, 0.7, 0.7, 0.0)

    def test_undefined_values_stay_undefined(self) -> None:
        assert all(map(math.isnan, robustness({0.0: 0.5, 0.9: math.nan}, direction=1)))

    @pytest.mark.parametrize(("curve", "match"), [({}, "got none"), ({1.2: 0.5}, "got 1.2")])
    def test_bad_rates(self, curve: dict, match: str) -> None:
        with pytest.raises(ValueError, match=match):
            robustness(curve, direction=1)


def test_every_metric_has_a_direction() -> None:
    assert set(DIRECTION) == {name for names in ALL.values() for name in names}
    assert [name for name, way in DIRECTION.items() if way < 0] == ["mae"]
    rng = np.random.default_rng(0)
    for family, (low, high) in LABEL_RANGE.items():
        label = rng.uniform(low, high, 200)
        near, far = (scores(label + rng.normal(0, sd, 200), label, family) for sd in (0.1, 2))
        assert all(DIRECTION[n] * (near[n] - far[n]) > 0 for n in ALL[family])


class TestLabelsInAnotherRange:
    """Only what means something there; nothing wrong, nothing flattering."""

    @pytest.mark.parametrize(
        ("family", "label_range", "names"),
        [
            ("mosi", (-3, 3), ALL["mosi"]),
            ("mosi", (0, 1), ("mae", "corr")),
            ("mosi", (-1, 1), ("acc2_non0", "f1_non0", "acc2_has0", "f1_has0", "mae", "corr")),
            ("sims", (-1, 1), ALL["sims"]),
            ("sims", (-3, 3), ("acc2", "f1", "mae", "corr")),
            ("sims", (1, 5), ("mae", "corr")),
        ],
    )
    def test_what_is_defined(self, family: str, label_range: tuple, names: tuple) -> None:
        assert defined(family, label_range) == names
        low, high = label_range
        prediction = label = np.linspace(low, high, 30)
        for found in (
            scores(prediction, label, family, label_range),
            floors(label, family, label_range),
        ):
            assert list(found) == list(ALL[family])
            given = [name for name, value in found.items() if not math.isnan(value)]
            assert set(names) - {"corr"} <= set(given) <= set(names)
        assert bool(left_out(family, label_range)) is (names != ALL[family])

    def test_the_error_is_not_clipped_to_the_familys_range(self) -> None:
        label, prediction = np.array([-3.0, 2.0, 3.0]), np.array([3.0, 2.5, 9.0])
        found = scores(prediction, label, "sims", (-3, 3))
        assert found["mae"] == pytest.approx((6 + 0.5 + 0) / 3)  # clipped to [-3, 3]
        assert found["acc2"] == pytest.approx(2 / 3)
        assert floors(label, "sims", (-3, 3))["mae"] == pytest.approx((5 + 0 + 1) / 3)
