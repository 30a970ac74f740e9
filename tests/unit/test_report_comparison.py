"""Comparisons of evaluations from end to end."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluations import LABEL, write_evaluation

from lnln_dist.commands.compare import command
from lnln_dist.errors import UserError
from lnln_dist.report.comparison import compare, shown
from lnln_dist.report.models import models_of
from lnln_dist.report.page import provenance
from lnln_dist.report.read import read
from lnln_dist.report.tables import Table

RUNS = {
    f"{model}_{seed}": (model, seed, error)
    for model, error in (("good", 0.5), ("bad", 0.9), ("alike", 0.5003))
    for seed in (1, 2, 3)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_evaluation(tmp_path_factory.mktemp("e") / "res", RUNS, missing=[["text"]])


def test_rows_agree_with_the_scores_of_the_evaluation(folder: Path) -> None:
    found = compare([folder]).models.set_index("model")
    scores = pd.read_csv(folder / "metrics.csv").query("metric == 'mae'")
    grid = scores[scores["pattern"] == "random"]
    for name, row in found.iterrows():
        own = grid[grid["model"] == name]
        assert row["mean"] == pytest.approx(own["value"].mean())
        by_seed = own.groupby("train_seed")["value"].mean()
        assert row["sd_training"] == pytest.approx(by_seed.std())
        by_rate = own.groupby("rate_text")["value"].mean()
        assert row["drop"] == pytest.approx(by_rate[0.5] - by_rate[0.0])  # worse: positive
        assert row["worst"] == pytest.approx(by_rate[0.5])
        other = scores[(scores["pattern"] == "missing:text") & (scores["model"] == name)]
        assert row["patterns"] == pytest.approx(other["value"].mean())
        assert row["low"] < row["mean"] < row["high"]
    floor = scores.loc[scores["model"] == "constant", "value"].iloc[0]
    assert (found["constant"] == floor).all()


@pytest.mark.parametrize("base", ["block", "aligned"])
def test_one_pattern_at_several_rates_has_their_robustness(base: str, tmp_path: Path) -> None:
    runs = {"a": ("good", 1, 0.5)}
    folder = write_evaluation(tmp_path / "r", runs, base=base, rates=(0.1, 0.5, 0.9))
    row = compare([folder]).models.iloc[0]
    scores = pd.read_csv(folder / "metrics.csv").query("metric == 'mae'")
    by_rate = scores.groupby("rate_text")["value"].mean()
    assert row["drop"] == pytest.approx(by_rate[0.9] - by_rate[0.1])
    assert row["worst"] == pytest.approx(by_rate[0.9])
    area = 0.5 * (by_rate[0.1] + 2 * by_rate[0.5] + by_rate[0.9]) * 0.4 / 0.8
    assert row["area"] == pytest.approx(area)
    assert "patterns" not in row  # nothing stands beside them


def test_what_holds_is_said_and_what_does_not(folder: Path) -> None:
    found = compare([folder])
    words = "\n".join(found.words)
    assert "good is better than bad: mae better by 0.4" in words
    tests = found.pairs.set_index(["first", "second"])
    assert tests.loc[("good", "bad"), "holds"]
    assert tests.loc[("good", "bad"), "improvement"] == 1
    assert (tests["p_holm"] >= tests["p"]).all()


def test_the_best_is_marked_only_where_its_lead_holds(tmp_path: Path) -> None:
    two = {name: run for name, run in RUNS.items() if run[0] != "alike"}
    clear = compare([write_evaluation(tmp_path / "clear", two)])
    assert clear.models.set_index("model")["best"].to_dict() == {"good": True, "bad": False}
    noisy = {f"{m}_{s}": (m, s + 10 * (m == "b"), 0.5) for m in "ab" for s in (1, 2, 3)}
    close = compare([write_evaluation(tmp_path / "close", noisy, training_sd=0.2)])
    assert not close.models["best"].any()
    assert close.words[0].startswith("best: none is marked")
    assert "not distinguishable" in close.words[1]
    assert "would be found 4 times in 5" in close.words[1]
    assert any("other training seeds" in line for line in close.words)


def test_against_tests_one_model_only(folder: Path) -> None:
    assert set(compare([folder], against="bad").pairs["second"]) == {"bad"}
    with pytest.raises(UserError, match="--against x: choose one of good, bad, alike"):
        compare([folder], against="x")


def test_neither_the_order_of_runs_nor_of_folders_matters(folder: Path, tmp_path: Path) -> None:
    halves = [dict(list(RUNS.items())[4:][::-1]), dict(list(RUNS.items())[:4])]
    apart = [
        write_evaluation(tmp_path / str(i), half, missing=[["text"]])
        for i, half in enumerate(halves)
    ]
    whole, parts = (compare(where).models for where in ([folder], apart))
    pd.testing.assert_frame_equal(
        whole.sort_values("model", ignore_index=True), parts.sort_values("model", ignore_index=True)
    )


def test_every_score_can_be_compared(folder: Path) -> None:
    for metric in ("acc7", "f1_non0", "corr"):
        row = compare([folder], metric).pairs.iloc[0]
        assert (row["first"], row["second"]) == ("good", "bad")
        assert row["difference"] >= 0, metric  # positive is better, whatever the direction
    with pytest.raises(UserError, match="--metric x: choose one of acc7"):
        compare([folder], "x")


def test_two_protocols_share_a_table_only_beside_a_column_that_says_so(
    folder: Path, tmp_path: Path
) -> None:
    other = write_evaluation(tmp_path / "o", RUNS, protocol="official", seeds=(1111,))
    text = write_evaluation(tmp_path / "t", RUNS, absent=["audio", "vision"])
    found = compare([folder, other, text])
    names = ["paper", "official", "paper, without audio and vision"]
    assert found.models["protocol"].unique().tolist() == names
    assert len(found.pairs) == 9  # none across protocols
    assert all(line.startswith(tuple(f"{name}: " for name in names)) for line in found.words)


def test_one_training_seed_is_said(tmp_path: Path) -> None:
    found = compare([write_evaluation(tmp_path / "e", {"a": ("a", None, 0.5), "b": ("b", 1, 0.9)})])
    assert any("one training seed of a, b" in line for line in found.words)
    assert "sd_training" not in found.models  # unknown for all
    assert np.isfinite(found.models[["low", "high"]]).all(axis=None)


@pytest.mark.parametrize(("slope", "alarmed"), [(0.0, True), (0.05, True), (0.8, False)])
def test_a_completeness_that_does_not_follow_the_rate_is_an_alarm(
    slope: float, alarmed: bool, tmp_path: Path
) -> None:
    where = write_evaluation(
        tmp_path / "e", {"a": ("lnln", 1, 0.5)}, rates=(0, 0.5, 0.9), slope=slope, alarms=["a: odd"]
    )
    found = compare([where])
    assert found.models["completeness"].iloc[0] == pytest.approx(slope, abs=1e-6)
    assert "a: odd" in found.alarms
    assert any("does not follow" in line for line in found.alarms) is alarmed


def test_a_rounded_zero_has_no_sign() -> None:
    table = pd.DataFrame({"low": [-1e-9], "high": [0.0], "drop": [-1e-9]})
    assert shown(table).iloc[0].tolist() == ["0.0000 to 0.0000", "0.0000"]


def test_settings_of_a_sweep_are_named_without_their_seeds(tmp_path: Path) -> None:
    runs = {f"lr-{lr}_s{seed}": ("lnln", seed, 0.5) for lr in ("low", "high") for seed in (1, 2)}
    where = write_evaluation(tmp_path / "e", runs)
    summary = json.loads((where / "evaluation.json").read_text())
    for record in summary["runs"]:
        record["group"] = record["run"][:-3]
    (where / "evaluation.json").write_text(json.dumps(summary))
    assert set(compare([where]).models["model"]) == {"lr-low", "lr-high"}


def test_with_natural_gaps_completeness_is_held_against_what_is_there(tmp_path: Path) -> None:
    where = write_evaluation(tmp_path / "e", {"a": ("lnln", 1, 0.5)}, rates=(0, 0.5), slope=0.35)
    summary = json.loads((where / "evaluation.json").read_text())
    by_rate = {"0": {"there": 0.7}, "0.5": {"there": 0.35}}
    summary["runs"][0]["checkpoints"] = {"best": {"completeness": {"by_rate": by_rate}}}
    (where / "evaluation.json").write_text(json.dumps(summary))
    assert compare([where]).models["completeness"].iloc[0] == pytest.approx(0.5, abs=1e-6)


def test_folders_that_cannot_be_compared_are_one_line_each(folder: Path, tmp_path: Path) -> None:
    def told(*folders: Path) -> str:
        with pytest.raises(UserError) as found:
            compare(folders)
        assert "\n" not in str(found.value)
        return str(found.value)

    assert "is no evaluation" in told(tmp_path)
    one = {"x": ("good", 9, 0.5)}
    wrong = write_evaluation(tmp_path / "data", one, data_hash="e", missing=[["text"]])
    assert "score other data" in told(folder, wrong)
    wrong = write_evaluation(tmp_path / "split", one, split="valid", missing=[["text"]])
    assert "demo valid" in told(folder, wrong)
    assert "other rates" in told(folder, write_evaluation(tmp_path / "rates", one, rates=[0.5]))
    twice = write_evaluation(tmp_path / "twice", {"y": RUNS["good_1"]}, missing=[["text"]])
    assert "same training with the same seed" in told(folder, twice)
    (twice / "metrics.csv").write_text("run\n")
    assert "is damaged" in told(twice)
    (wrong / "predictions.parquet").write_bytes(b"PAR1")
    assert "is damaged" in told(wrong)


def test_scores_that_are_not_those_of_the_predictions_are_refused(tmp_path: Path) -> None:
    where = write_evaluation(tmp_path / "e", {"a": ("a", 1, 0.5)})
    file = where / "metrics.csv"
    table = pd.read_csv(file)
    table.loc[table["metric"] == "mae", "value"] += 0.01
    table.to_csv(file, index=False)
    with pytest.raises(UserError, match="not that of its predictions"):
        compare([where])


def test_the_verb_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(folder)]) == 0
    assert "good is better than bad" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["scipy", "statsmodels.stats.multitest"])
def test_a_missing_package_is_one_line(
    package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("lnln_dist.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    told = rf"compare needs {package.split('.')[0]}: pip install .*\[report\]"
    with pytest.raises(UserError, match=told):
        command([str(folder)])


def test_published_scores_are_checked_by_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("method,acc2,f1\nx,72.73,79.43\n")
    assert command([str(file)]) == 0
    assert "x: swapped: f1 79.43 lies above acc2 72.73" in capsys.readouterr().out
    with pytest.raises(UserError, match="published scores are only checked"):
        command([str(file), str(tmp_path)])


GOLDEN = [
    "| model | protocol | training seeds | mean | sd training | iqm | area | worst | drop |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    "| a * | paper | 2 | 0.5000 | 0.1414 | 0.5000 | 0.5000 | 0.6500 | 0.3000 |",
    "| b | paper | 2 | 1.0000 | 0.1414 | 1.0000 | 1.0000 | 1.1500 | 0.3000 |",
]


def test_a_golden_example(tmp_path: Path) -> None:
    """All predictions are off by the same: at rate 0 by .25 and .45, or .75 and .95; then .3 more.

    The first beats the second by exactly .5, whatever the seed and the sample.
    """
    runs = {f"{m}_{s}": (m, s, {"a": 0.25, "b": 0.75}[m] + 0.2 * s) for m in "ab" for s in (0, 1)}
    where = write_evaluation(tmp_path / "e", runs, rates=[0.0, 1.0], training_sd=0, hardness_sd=0)
    found = compare([where])
    columns = ["model", "protocol", "best", "training_seeds", "mean", "sd_training", "iqm"]
    columns += ["area", "worst", "drop"]
    text = shown(found.models[columns])
    assert Table("", "", "", text, text).markdown.splitlines() == GOLDEN
    test = found.pairs.iloc[0]
    assert test[["difference", "low", "high"]].tolist() == pytest.approx([0.5] * 3, abs=1e-6)
    assert (test["improvement"], bool(test["holds"])) == (1.0, True)
    assert test["effect"] == pytest.approx(0.5 / 0.141421 * (1 - 3 / 7), rel=1e-4)


def test_an_old_evaluation_without_a_label_range_takes_the_familys(tmp_path: Path) -> None:
    runs = {"a": ("a", 1, 0.4)}
    label = (LABEL / 3).astype(np.float32)
    where = write_evaluation(tmp_path / "e", runs, family="sims", label=label)
    assert compare([where], "acc5").models["mean"].notna().all()


TWO = {"a": ("lnln", 1, 0.5), "b": ("text", 1, 0.9), "c": ("tfn", 1, 0.9)}


def test_what_was_trained_differently_is_said_in_one_line(tmp_path: Path) -> None:
    same = {"optim.lr": 1e-4, "noise.rate": None}
    training = {
        "lnln": {"train.epochs": 15, "select.metric": "mae", **same},
        "text": {"train.epochs": 6, "select.metric": "corr", **same},
        "tfn": {"train.epochs": 4, "select.metric": "mae", "later": 1, **same},
    }
    found = compare([write_evaluation(tmp_path / "e", TWO, training=training)])
    assert [line for line in found.words if "trained differently" in line] == [
        "trained differently: train.epochs 15 (lnln), 6 (text), 4 (tfn); select.metric mae (lnln, "
        "tfn), corr (text)"
    ]
    _, runs = provenance(found)
    assert [run["trained differently"] for run in runs] == [
        "train.epochs 15; select.metric mae",
        "train.epochs 6; select.metric corr",
        "train.epochs 4; select.metric mae",
    ]


@pytest.mark.parametrize(
    "training",
    [None, {}, {"lnln": {"train.epochs": 15}}, {m: {"train.epochs": 4} for m in ("lnln", "tfn")}],
)
def test_a_training_that_is_alike_or_not_noted_is_passed_over(
    training: dict[str, dict[str, int]] | None, tmp_path: Path
) -> None:
    found = compare([write_evaluation(tmp_path / "e", TWO, training=training)])
    assert not any("trained differently" in line for line in found.words)
    assert all("trained differently" not in run for run in provenance(found)[1])


def test_bias_is_what_all_predictions_are_off_by(tmp_path: Path) -> None:
    where = write_evaluation(tmp_path / "e", {"a": ("a", 1, 0.4), "b": ("a", 2, 0.9)})
    told = pd.read_parquet(where / "predictions.parquet").astype({"label": float})
    own = (told["prediction"] - told["label"]).mean()
    assert abs(own) > 0.01
    assert compare([where]).models["bias"].tolist() == pytest.approx([own])
    # Of classes, which have values, labels are classes too.
    runs = read([where])
    for run in runs:
        run.record["task"] = "three-class"
    classes = told["prediction"].mean() - told["label"].round().clip(-1, 1).mean()
    assert models_of(runs, "acc3")[0].bias == pytest.approx(classes)


@pytest.mark.parametrize("shift", [None, "", "labels of test lie 0.551 below those of train"])
def test_labels_that_lie_elsewhere_are_said_once(shift: str | None, tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / p, TWO, protocol=p) for p in ("paper", "mine")]
    for folder in folders:
        told = json.loads((folder / "evaluation.json").read_text())
        for record in told["runs"]:
            record["label_shift"] = shift
        (folder / "evaluation.json").write_text(json.dumps(told))
    lines = [line for line in compare(folders).words if line.startswith("labels of")]
    assert lines == ([f"{shift} (see bias)"] if shift else [])
