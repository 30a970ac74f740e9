"""An evaluation made again: the same bits, or a table of what is not the same."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny_runs

from lnln_dist.commands import evaluate, reproduce
from lnln_dist.errors import CheckpointError, UserError
from lnln_dist.evaluate.again import arguments
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.report.read import read
from lnln_dist.runtime import Runtime
from lnln_dist.share.reproduce import differences


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data``, runs ``a`` and ``b``, and their evaluation in ``results``."""
    folder = tmp_path_factory.mktemp("again")
    tiny_runs.write_data(folder / "data")
    runs = [
        tiny_runs.write_tiny_run(folder / name, folder / "data", seed=seed)
        for seed, name in enumerate("ab")
    ]
    evaluate_runs(
        runs,
        output=folder / "results",
        runtime=Runtime(cpu=True),
        rates=[0.0, 0.5],
        seeds=[1, 2],
        missing=[("text",), ("audio", "vision")],
        split="valid",
        batch_size=3,
    )
    return folder


@pytest.fixture
def results(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "results", tmp_path / "results"))


def summary(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "evaluation.json").read_text())
    return found


def test_every_option_of_evaluate_is_in_its_command(place: Path) -> None:
    known = {o for a in evaluate._parser()._actions for o in a.option_strings}
    # Where it is written and how fast: not what comes out.
    idle = {"--help", "-h", "--debug", "--output", "--overwrite", "--workers", "--print_shtab"}
    told = summary(place / "results")
    told["asked"] = told["asked"] | {"absent": ["audio"]}  # type: ignore[operator]
    assert known - idle == {word for word in arguments(told) if word.startswith("--")}
    command = str(summary(place / "results")["command"])
    assert command.startswith(f"lnln-dist evaluate {place}/a {place}/b --data {place}/data --split")
    assert "--missing text --missing audio,vision --batch-size 3 --cpu" in command
    assert "--absent" not in command


def test_the_same_again_is_the_same_bits(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert reproduce.command([str(place / "results"), "--output", str(tmp_path / "again")]) == 0
    said = capsys.readouterr().out
    scores = pd.read_csv(place / "results" / "metrics.csv")
    outputs = pd.read_parquet(place / "results" / "predictions.parquet")
    count = len(scores) + 2 * len(outputs)  # the prediction and the completeness
    assert f"all {count} numbers are reproduced bit for bit" in said
    assert "changed" not in said
    assert summary(tmp_path / "again")["runs"] == summary(place / "results")["runs"]


def test_a_protocol_file_that_is_gone_is_not_needed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was evaluated stands in the results, with what the options changed of it."""
    path = tmp_path / "mine.yaml"
    path.write_text("{name: mine, seeds: [4], grids: [{pattern: block, rates: [0.2, 0.6]}]}")
    evaluate_runs(
        [place / "a"],
        output=tmp_path / "results",
        runtime=Runtime(cpu=True),
        protocol=str(path),
        seeds=[7],
    )
    path.unlink()
    assert reproduce.command([str(tmp_path / "results"), "--output", str(tmp_path / "again")]) == 0
    assert "reproduced bit for bit" in capsys.readouterr().out
    one, two = (summary(tmp_path / name) for name in ("results", "again"))
    assert one["protocol"] == "custom of mine"
    assert one["command"] == two["command"]


def test_one_changed_digit_is_found(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_parquet(results / "predictions.parquet")
    table.loc[7, "prediction"] += 1e-6
    table.to_parquet(results / "predictions.parquet")
    assert reproduce.command([str(results)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("DIFFERS")]
    assert len(lines) == 1
    assert lines[0].split()[:4] == ["a", "prediction", "40", "1"]


def test_elsewhere_a_tolerance_is_allowed(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = summary(results)
    content["made_on"] = {"device": "NVIDIA X", "threads": 1, "instructions": "none"}
    (results / "evaluation.json").write_text(json.dumps(content))
    table = pd.read_parquet(results / "predictions.parquet")
    table["prediction"] += 1e-6
    table.to_parquet(results / "predictions.parquet")
    assert reproduce.command([str(results)]) == 0
    said = capsys.readouterr().out
    assert "changed: device was NVIDIA X, is cpu" in said
    assert "reproduced within what is allowed" in said
    assert reproduce.command([str(results), "--tolerance", "1e-8"]) == 1


def test_runs_and_data_that_moved_are_named(
    place: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = summary(results)
    for record in content["runs"]:  # type: ignore[attr-defined]
        record["folder"], record["data"] = "/nowhere/run", "/nowhere/data"
    (results / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="/nowhere/run: no such run"):
        reproduce.command([str(results)])
    moved = shutil.copytree(place / "a", tmp_path / "moved")
    runs = ["--run", str(moved), "--run", str(place / "b")]
    assert reproduce.command([str(results), *runs, "--data", str(place / "data")]) == 0
    assert "bit for bit" in capsys.readouterr().out


def test_other_weights_and_data_are_refused(place: Path, results: Path, tmp_path: Path) -> None:
    swapped = ["--run", str(place / "b"), "--run", str(place / "a")]
    with pytest.raises(UserError, match="not those that were evaluated"):
        reproduce.command([str(results), *swapped])
    with pytest.raises(UserError, match="given 1 times, the evaluation has 2"):
        reproduce.command([str(results), "--run", str(place / "a")])
    tiny_runs.write_data(tmp_path / "other", seed=5)
    with pytest.raises(UserError, match="not the data that was evaluated"):
        reproduce.command([str(results), "--data", str(tmp_path / "other")])


def test_what_is_no_evaluation_is_one_line(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no evaluation"):
        reproduce.command([str(tmp_path / "none")])
    content = summary(results)
    del content["command"]
    (results / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="earlier version"):
        reproduce.command([str(results)])
    (results / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        reproduce.command([str(results)])


def test_missing_rows_and_columns_differ(place: Path, results: Path) -> None:
    table = pd.read_parquet(results / "predictions.parquet")
    table.drop(columns="completeness")[1:].to_parquet(results / "predictions.parquet")
    found = differences(place / "results", results, tolerance=1.0)
    bad = {(one.run, one.what) for one in found if not one.holds}
    assert bad == {("a", "prediction"), ("a", "completeness"), ("b", "completeness")}


def test_what_only_the_second_has_differs(place: Path, results: Path) -> None:
    table = pd.read_parquet(results / "predictions.parquet")
    table.drop(columns="completeness").to_parquet(results / "predictions.parquet")
    scores = pd.read_csv(results / "metrics.csv")
    scores[scores["metric"] != "mae"].to_csv(results / "metrics.csv", index=False)
    found = differences(results, place / "results", tolerance=1.0)
    bad = {(one.run, one.what) for one in found if not one.holds}
    assert bad == {(run, what) for run in "ab" for what in ("mae", "completeness")}


def test_predictions_are_compared_though_the_first_are_undefined(
    place: Path, results: Path
) -> None:
    table = pd.read_parquet(results / "predictions.parquet")
    table.assign(prediction=float("nan")).to_parquet(results / "predictions.parquet")
    found = differences(results, place / "results", tolerance=1.0)
    assert {(one.run, one.what) for one in found if not one.holds} == {
        ("a", "prediction"),
        ("b", "prediction"),
    }


@pytest.mark.parametrize("name", ["1", "2.0", "nan", "None"])
def test_any_name_of_a_run_is_a_name(name: str, place: Path, results: Path) -> None:
    content = summary(results)
    content["runs"][0]["run"] = name  # type: ignore[index]
    (results / "evaluation.json").write_text(json.dumps(content))
    for file in ("metrics.csv", "predictions.parquet"):
        csv = file.endswith("csv")
        table = pd.read_csv(results / file) if csv else pd.read_parquet(results / file)
        table["run"] = table["run"].astype(object).replace("a", name)
        if csv:
            table.to_csv(results / file, index=False)
        else:
            table.to_parquet(results / file)
    found = differences(results, place / "results", tolerance=0.0)
    assert all(one.holds for one in found)
    assert {one.run for one in found} == {name, "b"}
    assert [len(run.metrics) for run in read([results])] == [
        len(run.metrics) for run in read([place / "results"])
    ]


def test_an_evaluation_without_numbers_is_no_success(place: Path, results: Path) -> None:
    scores = pd.read_csv(results / "metrics.csv")
    scores[scores["run"] != "a"].to_csv(results / "metrics.csv", index=False)
    with pytest.raises(UserError, match="no scores or no predictions of a"):
        differences(results, place / "results", tolerance=0.0)
    whole = summary(results)
    for runs in (
        [],
        [{**whole["runs"][0], "run": None}],
        [{**whole["runs"][0], "checkpoints": {}}],
    ):  # type: ignore[index]
        (results / "evaluation.json").write_text(json.dumps({**whole, "runs": runs}))
        with pytest.raises(UserError, match="damaged"):
            reproduce.command([str(results)])
