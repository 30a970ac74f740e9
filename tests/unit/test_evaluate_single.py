"""Predictions of one run as a CSV file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_runs

from lnln_dist.errors import UserError
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.evaluate.single import predict_file
from lnln_dist.runtime import Runtime


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(cpu=True)


def test_predictions_are_the_evaluations_without_noise(tmp_path: Path, runtime: Runtime) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    predict_file(run, tmp_path / "data", output=tmp_path / "p.csv", runtime=runtime, split="valid")
    evaluate_runs([run], output=tmp_path / "e", runtime=runtime, rates=[0.0], split="valid")
    table = pd.read_csv(tmp_path / "p.csv")
    other = pd.read_parquet(tmp_path / "e" / "predictions.parquet")[: len(table)]
    assert list(table.columns) == ["id", "label", "prediction", "completeness"]
    assert table.id.tolist() == other.id.tolist()
    np.testing.assert_allclose(table.prediction, other.prediction, rtol=1e-6)
    np.testing.assert_allclose(table.label, other.label, rtol=1e-6)


def test_a_pickle_is_prepared_with_the_runs_tokenizer(tmp_path: Path, runtime: Runtime) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    outputs = tmp_path / "a.csv", tmp_path / "b.csv"
    for source, output in zip((tmp_path / "data", tmp_path / "data.pkl"), outputs, strict=True):
        predict_file(run, source, output=output, runtime=runtime)
    first, second = (pd.read_csv(path) for path in outputs)
    pd.testing.assert_frame_equal(first, second)
    assert len(first) == tiny_runs.SIZES["test"]


def test_an_existing_file_is_kept_unless_told(tmp_path: Path, runtime: Runtime) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    output = tmp_path / "p.csv"
    output.write_text("mine")
    with pytest.raises(UserError, match=r"exists.*--overwrite"):
        predict_file(run, tmp_path / "data", output=output, runtime=runtime)
    assert output.read_text() == "mine"
    predict_file(run, tmp_path / "data", output=output, runtime=runtime, overwrite=True)
    assert output.read_text().startswith("id,label")


def test_no_such_data(tmp_path: Path, runtime: Runtime) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    with pytest.raises(UserError, match="no such folder"):
        predict_file(run, tmp_path / "none", output=tmp_path / "p.csv", runtime=runtime)
