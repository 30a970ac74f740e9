"""The released code's robust evaluation, through prepare, import and evaluate alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lnln_dist.compat.import_run import import_checkpoint
from lnln_dist.data.convert import prepare
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.evaluate.single import predict_file
from lnln_dist.runtime import Runtime

PREDICTION, CONTINUOUS = 1e-4, 1.5e-4
NAMES = {
    "Has0_acc_2": "acc2_has0",
    "Has0_F1_score": "f1_has0",
    "Non0_acc_2": "acc2_non0",
    "Non0_F1_score": "f1_non0",
    "Mult_acc_5": "acc5",
    "Mult_acc_7": "acc7",
    "MAE": "mae",
    "Corr": "corr",
}


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, dict]:
    return json.loads((shared / "parity" / "official_evaluation" / "expected.json").read_text())


@pytest.fixture(scope="module")
def results(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    bert = shared / "parity" / "official_checkpoint" / "bert"
    prepare(
        shared / "parity" / "official_evaluation" / "mosi_small.pkl",
        folder / "data",
        dataset="mosi",
        tokenizer=str(bert),
        text_source="text_bert",
    )
    import_checkpoint(
        shared / "parity" / "official_checkpoint" / "official_checkpoint.pth",
        folder / "run",
        encoder=bert,
        dataset="mosi",
    )
    evaluate_runs(
        [folder / "run"],
        data=folder / "data",
        protocol="official",
        output=folder / "results",
        runtime=Runtime(cpu=True),
    )
    return folder / "results"


def test_the_reference_has_the_ten_rates(expected: dict[str, dict]) -> None:
    assert sorted(map(float, expected)) == [r / 10 for r in range(10)]


def test_predictions_of_all_rates(results: Path, expected: dict[str, dict]) -> None:
    table = pd.read_parquet(results / "predictions.parquet")
    assert len(table) == sum(len(case["preds"]) for case in expected.values())
    for rate, case in expected.items():
        own = table[np.isclose(table.rate, float(rate))].prediction.to_numpy()
        np.testing.assert_allclose(own, case["preds"], rtol=0, atol=PREDICTION)


def test_scores_of_all_rates(results: Path, expected: dict[str, dict]) -> None:
    frame = pd.read_csv(results / "metrics.csv")
    own = frame[frame.model == "lnln"]
    for rate, case in expected.items():
        here = own[np.isclose(own.rate_text, float(rate))].set_index("metric").value
        assert set(case["metrics"]) == set(NAMES)
        for theirs, value in case["metrics"].items():
            ours = here[NAMES[theirs]]
            if theirs in ("MAE", "Corr"):
                assert ours == pytest.approx(value, abs=CONTINUOUS), (rate, theirs)
            else:
                assert round(ours, 4) == value, (rate, theirs)


def test_the_run_folder_stands_alone(results: Path) -> None:
    """Moved elsewhere, the run still knows its encoder; nothing names the checkpoint's place."""
    run, data = results.parent / "run", results.parent / "data"
    shutil.copytree(run, results.parent / "moved" / "run")
    found = evaluate_runs(
        [results.parent / "moved" / "run"],
        data=data,
        protocol="official",
        rates=[0.5],
        output=results.parent / "again",
        runtime=Runtime(cpu=True),
    )
    old = pd.read_csv(results / "metrics.csv")
    here = found.metrics[found.metrics.model == "lnln"].value.to_numpy()
    np.testing.assert_allclose(here, old[old.rate_text == 0.5].value, rtol=1e-6)


def test_predict_takes_the_feature_file_itself(
    shared: Path, results: Path, expected: dict[str, dict]
) -> None:
    table = predict_file(
        results.parent / "run",
        shared / "parity" / "official_evaluation" / "mosi_small.pkl",
        output=results.parent / "predictions.csv",
        runtime=Runtime(cpu=True),
    ).table
    np.testing.assert_allclose(table.prediction, expected["0.0"]["preds"], rtol=0, atol=PREDICTION)
