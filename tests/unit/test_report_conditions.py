"""Aggregates of predictions against counts by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluations import write_evaluation

from lnln_dist.report.comparison import compare
from lnln_dist.report.conditions import (
    Condition,
    Outputs,
    bins_of,
    calibration,
    confusion,
    error_by_length,
    metrics_of,
    outputs_of,
)
from lnln_dist.report.models import Model
from lnln_dist.report.read import read

CLEAN, HALF = Condition("random", 0.0), Condition("random", 0.5)
RUNS = {"a1": ("a", 1, 0.4), "a2": ("a", 2, 0.6)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("e") / "res"
    return write_evaluation(target, RUNS, missing=[["text"]], slope=0.4)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return compare([folder]).compared[0]


def test_every_seed_is_a_row_and_the_first_noise_seed_stands_alone(
    folder: Path, model: Model
) -> None:
    out = outputs_of(model, "mae")
    assert [at.name for at in out.prediction_SN] == ["missing:text", "0.0", "0.5"]
    assert out.prediction_SN[HALF].shape == (4, 60)  # two trainings x two noise seeds
    assert out.prediction_SN[Condition("missing:text", 1.0)].shape[1] == 60
    table = pd.read_parquet(folder / "predictions.parquet")
    half = table[(table["pattern"] == "random") & (table["rate"] == 0.5)]
    first = half[half["noise_seed"] == 1].groupby("id")["prediction"].mean()
    np.testing.assert_allclose(out.first_N[HALF], first.to_numpy(), rtol=1e-6)
    assert out.ids == first.index.tolist()


def test_the_curve_is_the_scores_of_the_evaluation(folder: Path, model: Model) -> None:
    scores = pd.read_csv(folder / "metrics.csv").query("metric == 'mae' and model == 'a'")
    for rate, interval in ((0.0, model.curve[CLEAN]), (0.5, model.curve[HALF])):
        own = scores[(scores["pattern"] == "random") & (scores["rate_text"] == rate)]
        assert interval.value == pytest.approx(own["value"].mean())
        assert interval.low < interval.value < interval.high


def _outputs(label: list[float], *seeds: list[float]) -> Outputs:
    prediction = {CLEAN: np.array(seeds)}
    first = {CLEAN: np.array(seeds[0])}
    return Outputs([*map(str, range(len(label)))], np.array(label), prediction, {}, first)


def test_confusion_counts_true_by_predicted_over_seeds() -> None:
    out = _outputs([-3.0, 0.4, 2.0], [-2.6, 1.6, 9.0], [0.0, 1.6, 2.0])
    expected = np.zeros((7, 7), int)
    expected[0, 0] = expected[0, 3] = 1  # -3 told as -3 and as 0
    expected[3, 5] = 2  # 0 told as 2, twice
    expected[5, 6] = expected[5, 5] = 1  # 2 told as 3 (clipped) and as 2
    assert confusion(out, "mosi")[CLEAN] == expected.tolist()
    sims = confusion(_outputs([0.0, 1.0], [-0.7, 0.05]), "sims")[CLEAN]
    assert (sims[2][0], sims[4][2]) == (1, 1)


def test_calibration_is_the_mean_and_spread_over_samples(model: Model) -> None:
    found = calibration(outputs_of(model, "mae"))
    assert found[CLEAN] == pytest.approx((0.9, 0), abs=1e-6)
    assert found[HALF] == pytest.approx((0.7, 0), abs=1e-6)
    assert calibration(_outputs([0.0], [0.0])) == {}


def test_errors_by_length_weigh_every_sample_once() -> None:
    length_N = np.array([3, 3, 9, 9, 9, 20, 20, 20])
    bins = bins_of(length_N)
    assert bins.names == ["3", "9", "20"]
    assert bins.sizes == [2, 3, 3]
    out = _outputs([0.0] * 8, [1.0, 3.0, 0, 0, 3.0, -1.0, 1.0, 1.0])
    assert error_by_length(out, bins)[CLEAN] == pytest.approx([2.0, 1.0, 1.0])
    assert bins_of(np.array([5, 5, 5])).sizes == [3]


def test_scores_that_are_undefined_or_not_of_all_are_left_out(tmp_path: Path) -> None:
    where = write_evaluation(tmp_path / "e", RUNS)
    file = where / "metrics.csv"
    table = pd.read_csv(file)
    table.loc[table["metric"] == "acc7", "value"] = np.nan
    table[(table["metric"] != "corr") | (table["run"] != "a2")].to_csv(file, index=False)
    found = metrics_of(read([where]))
    assert {"acc7", "corr"} & set(found) == set()
    assert found[0] == "acc5"
    assert found[-1] == "f1_macro3"
    assert "mae" in found


def test_a_condition_has_the_name_that_the_evaluation_gives_it() -> None:
    at = [Condition("clean", 0.0), Condition("block", 1.0), Condition("missing:text", 1.0)]
    assert [one.name for one in at] == ["clean", "block 1", "missing:text"]


def test_completeness_of_an_absent_text_is_not_held_against_the_rate(tmp_path: Path) -> None:
    run = {"a1": ("a", 1, 0.4)}
    idle = compare([write_evaluation(tmp_path / "there", run, slope=0.0)])
    assert any("does not follow" in line for line in idle.alarms)
    gone = compare([write_evaluation(tmp_path / "gone", run, slope=0.0, absent=["text"])])
    assert not any("does not follow" in line for line in gone.alarms)
    assert np.isnan(gone.compared[0].slope)


def test_confusion_of_a_task_of_classes_has_its_classes() -> None:
    out = _outputs([-2.4, 0.2, 1.4], [-1.0, 0.0, 0.0])
    assert confusion(out, "mosi", 3)[CLEAN] == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
