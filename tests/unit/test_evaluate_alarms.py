"""Signs of scores that mean less than they seem to."""

import numpy as np
import pandas as pd
import pytest

from lnln_dist.evaluate.alarms import (
    collapse,
    collapse_line,
    collapse_of_classes,
    no_better_than_constant,
    swapped,
)

LABEL = np.linspace(-3, 3, 101)


def test_predictions_that_follow_the_label_are_fine() -> None:
    assert collapse(0.2 * LABEL, LABEL) == ""


def test_constant_predictions_collapse() -> None:
    assert "standard deviation" in collapse(np.full(101, 0.3), LABEL)
    assert "standard deviation" in collapse(0.04 * LABEL, LABEL)
    assert collapse(0.06 * LABEL, LABEL) == ""


@pytest.mark.parametrize(("sign", "side"), [(1, "above 0"), (-1, "not above 0")])
def test_one_sided_predictions_collapse(sign: int, side: str) -> None:
    assert collapse(sign * (LABEL + 2.9), LABEL).endswith(side)
    assert collapse(sign * (LABEL + 2.5), LABEL) == ""


def test_one_sided_labels_excuse_one_sided_predictions() -> None:
    label = np.linspace(0.1, 3, 50)
    assert collapse(label, label) == ""


def test_labels_that_are_all_the_same_are_no_measure() -> None:
    """A test set of one sample, above all."""
    assert collapse([1.0], [-1.0]) == ""
    assert collapse_of_classes([1.0], [-1.0], "mosi", 3) == ""


def test_decisions_that_are_one_class_or_leave_one_out_collapse() -> None:
    label = np.repeat([-1.0, 0.0, 1.0], [40, 20, 40])
    assert collapse_of_classes(label, label, "mosi", 3) == ""
    few = np.repeat([-1.0, 0.0, 1.0], [2, 96, 2])
    assert collapse_of_classes(few, label, "mosi", 3) == "96% of them class 0"
    sides = np.repeat([-1.0, 1.0], [50, 50])
    named = "none is class 0, which 20% of the labels are"
    assert collapse_of_classes(sides, label, "mosi", 3) == named
    assert collapse_of_classes(few, few, "mosi", 3) == ""  # the labels are like that
    rare = np.repeat([-1.0, 0.0, 1.0], [48, 4, 48])
    assert collapse_of_classes(sides, rare, "mosi", 3) == ""


def test_scores_that_a_constant_reaches_are_named() -> None:
    def rows(value: dict[float, float]) -> pd.DataFrame:
        known = [
            {"metric": m, "model": "text", "pattern": "random", "noise_seed": 1, "value": v}
            | {f"rate_{modality}": rate for modality in ("text", "audio", "vision")}
            for rate, v in value.items()
            for m in ("acc3", "mae")
        ]
        floor = [{"metric": m, "model": "constant", "value": 0.5} for m in ("acc3", "mae")]
        return pd.DataFrame([*known, *floor])

    good_and_bad = rows({0.0: 0.7, 0.9: 0.4})  # 0.55 in the mean
    assert no_better_than_constant(good_and_bad, ["acc3"]) == ""
    named = "no better than a constant: mean mae 0.5500 (best constant 0.5000)"
    assert no_better_than_constant(good_and_bad, ["acc3", "mae"]) == named
    assert "mean acc3 0.5000" in no_better_than_constant(rows({0.0: 0.5}), ["acc3"])


def test_the_line_names_every_condition_once() -> None:
    line = collapse_line("a", [("0.8", "x"), ("0.8", "y"), ("missing:text", "z")])
    assert line == "a: predictions collapse at missing rate 0.8 and under missing:text (z)"
    assert collapse_line("a", [("clean", "x")]) == "a: predictions collapse under clean (x)"


def _rows(accuracy: float, f1: float, rate: float) -> pd.DataFrame:
    common = {"rate_text": rate, "rate_audio": rate, "rate_vision": rate}
    return pd.DataFrame(
        [
            {**common, "metric": "acc2_has0", "value": accuracy},
            {**common, "metric": "f1_has0", "value": f1},
        ]
    )


def test_f1_clearly_above_accuracy_is_named() -> None:
    # A constant that is right on 70 % scores 2p / (1 + p) with the arguments swapped.
    assert "f1_has0 0.8235" in swapped(_rows(0.7, 2 * 0.7 / 1.7, 0.8))
    assert swapped(_rows(0.7, 2 * 0.7**2 / 1.7, 0.8)) == ""
    assert swapped(_rows(0.7, 0.72, 0.8)) == ""


def test_light_noise_does_not_count() -> None:
    assert swapped(_rows(0.7, 0.82, 0.4)) == ""


def test_labels_of_one_class_raise_no_alarm() -> None:
    """There F1 = 2a / (1 + a), above the accuracy a by itself."""
    for best, alarmed in ((1.0, False), (0.7, True)):
        rows = pd.concat([_rows(0.7, 2 * 0.7 / 1.7, 0.8), _rows(best, best, float("nan"))])
        assert bool(swapped(rows)) is alarmed
