"""Robust evaluation of tiny runs, from run folders to result files."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tiny_runs
import torch

from lnln_dist import metrics
from lnln_dist.commands.evaluate import command
from lnln_dist.data.convert import prepare
from lnln_dist.data.schema import LabelScale, write_index
from lnln_dist.data.shards import open_dataset
from lnln_dist.errors import CheckpointError, UserError
from lnln_dist.evaluate import robust
from lnln_dist.evaluate.results import COLUMNS
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.evaluate.table import render
from lnln_dist.runs import Run, save_best
from lnln_dist.runtime import Runtime

N = tiny_runs.SIZES["test"]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(cpu=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepared"
    tiny_runs.write_data(folder)
    return folder


@pytest.fixture
def evaluate(tmp_path: Path, runtime: Runtime) -> Callable[..., robust.Evaluation]:
    def call(*runs: Path, **choices: Any) -> robust.Evaluation:
        settings: dict[str, Any] = {"rates": [0.0, 0.6], "seeds": [1, 2], "batch_size": 4}
        settings |= {"output": tmp_path / "out", **choices}
        return evaluate_runs(list(runs), runtime=runtime, **settings)

    return call


def test_the_verb_takes_a_shells_glob_over_a_sweeps_trials(tmp_path: Path, data: Path) -> None:
    tiny_runs.write_tiny_run(tmp_path / "trials" / "a", data)
    (tmp_path / "trials" / "events.out.tfevents.1.host.columns").touch()
    paths = sorted(map(str, (tmp_path / "trials").iterdir()))
    choices = ["--rates", "0.5", "--seeds", "1", "--cpu"]
    command([*paths, "--output", str(tmp_path / "out"), *choices])
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [run["run"] for run in summary["runs"]] == ["a"]


def test_files_hold_every_condition_and_sample(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    evaluate(run, missing=[("text",)])
    frame = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert tuple(frame.columns) == COLUMNS
    own, floor = frame[frame.model == "lnln"], frame[frame.model == "constant"]
    conditions = own[["pattern", "rate_text", "rate_audio", "noise_seed"]].drop_duplicates()
    assert conditions.to_numpy().tolist() == [
        *(["random", r, r, s] for r in (0.0, 0.6) for s in (1, 2)),
        *(["missing:text", 1.0, 0.0, s] for s in (1, 2)),
    ]
    assert len(own) == 6 * len(metrics.ALL["mosi"])
    assert set(own.checkpoint) == {"best"}
    assert set(own.selected_on) == {"valid"}
    assert set(own.train_seed) == {1}
    expected = metrics.floors(open_dataset(data).split("test").labels, "mosi")
    assert dict(zip(floor.metric, floor.value, strict=True)) == pytest.approx(expected, nan_ok=True)
    assert floor[["rate_text", "noise_seed", "train_seed", "checkpoint"]].isna().all(axis=None)

    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert len(table) == 6 * N
    assert set(table.protocol) == set(own.protocol) == {"custom of paper"}
    one = table[(table.pattern == "random") & (table.rate == 0.6) & (table.noise_seed == 2)]
    assert one.id.tolist() == [f"test{i}$_$0" for i in range(N)]
    row = own[(own.rate_text == 0.6) & (own.noise_seed == 2) & (own.metric == "mae")]
    assert row.value.item() == pytest.approx((one.prediction - one.label).abs().mean(), rel=1e-6)
    places = sum(open_dataset(data).split("test").lengths["audio"])
    assert row.erased_audio.item() == one.erased_audio.sum() / places
    assert 0.3 < row.erased_audio.item() < 0.9
    stored = pq.read_schema(tmp_path / "out" / "predictions.parquet").metadata
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert json.loads(stored[b"protocol_definition"]) == summary["protocol_definition"]


def test_counts_leave_zero_labels_out_of_non0(tmp_path: Path, evaluate: Callable[..., Any]) -> None:
    source = tiny_runs.write_pickle(tmp_path / "zero.pkl")
    content = pickle.loads(source.read_bytes())
    content["test"]["regression_labels"][:4] = 0
    source.write_bytes(pickle.dumps(content))
    prepare(source, tmp_path / "zero", dataset="mosi", tokenizer="corpus")
    run = tiny_runs.write_tiny_run(tmp_path / "a", tmp_path / "zero")
    frame = evaluate(run).metrics
    counts = frame.groupby("metric")["n"].unique().to_dict()
    assert counts["acc2_non0"].tolist() == counts["f1_non0"].tolist() == [N - 4]
    assert counts["acc2_has0"].tolist() == counts["mae"].tolist() == [N]


def test_predictions_do_not_depend_on_batches_or_data_place(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    evaluate(run, output=tmp_path / "x")
    evaluate(run, output=tmp_path / "y", batch_size=64, data=data)
    x, y = (pd.read_parquet(tmp_path / n / "predictions.parquet") for n in "xy")
    np.testing.assert_allclose(x.prediction, y.prediction, atol=1e-5)
    assert (x.id == y.id).all()


def test_noise_changes_predictions_and_seeds_matter_only_where_chance_does(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    evaluate(run)
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    cells = {k: g.prediction.to_numpy() for k, g in table.groupby(["rate", "noise_seed"])}
    assert (cells[0.0, 1] == cells[0.0, 2]).all()
    assert (cells[0.6, 1] != cells[0.6, 2]).any()
    assert (cells[0.0, 1] != cells[0.6, 1]).any()


def test_a_certain_condition_is_computed_once(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = robust.predict_case

    def counted(case: Any, model: Any, noises: list[Any], **more: Any) -> Any:
        calls.extend(noises)
        return real(case, model, noises, **more)

    monkeypatch.setattr(robust, "predict_case", counted)
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    found = evaluate(run, rates=[0.0, 0.6, 1.0], missing=[("audio",)])
    assert len(calls) == 1 + 2 + 1 + 1
    seeds = found.metrics[found.metrics.model == "lnln"].groupby(["pattern", "rate_audio"])
    assert seeds["noise_seed"].nunique().tolist() == [2, 2, 2, 2]


def test_the_official_protocol_has_its_own_seed_and_noise(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, padding="corpus")
    found = evaluate(run, protocol="official", seeds=None)
    assert found.summary["noise_seeds"] == [1111]
    assert set(found.metrics.noise_seed.dropna()) == {1111}
    other = evaluate(run, protocol="official", seeds=[5], output=tmp_path / "other").metrics
    one, two = (m[(m.metric == "mae") & (m.rate_text == 0.6)] for m in (found.metrics, other))
    assert one.value.item() != two.value.item()


def test_windows_are_scored_whole_and_where_they_lie(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    found = evaluate(run, protocol="windows", rates=None, seeds=None)
    own = found.metrics[(found.metrics.metric == "mae") & (found.metrics.model == "lnln")]
    assert len(own) == 26
    assert own.value.nunique() > 13
    first = own.set_index(["pattern", "rate"])
    assert first.loc[("clean", 0.0), ["erased_text", "erased_audio"]].tolist() == [0, 0]
    shares = first.loc[("block:start:audio+vision", 0.3)]
    assert shares.erased_text == 0
    assert 0.2 < shares.erased_audio < 0.4
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert set(table.protocol) == {"windows"}
    assert found.summary["protocol_definition"]["name"] == "windows"


def test_a_checkpoint_chosen_on_another_split_than_asked_is_noted(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    for protocol, notes in (("as-is", 0), ("official", 1)):
        found = evaluate(run, protocol=protocol, rates=None, seeds=None, output=tmp_path / protocol)
        (record,) = found.summary["runs"]
        assert len(record["notes"]) == notes
    assert record["notes"] == ["the checkpoint was chosen on valid, the protocol asks for test"]


def test_data_that_arrive_damaged_are_scored_as_they_are_and_told(
    tmp_path: Path, evaluate: Callable[..., Any]
) -> None:
    source = tiny_runs.write_pickle(tmp_path / "gaps.pkl")
    content = pickle.loads(source.read_bytes())
    content["test"]["audio"][0, 2:5] = 0
    source.write_bytes(pickle.dumps(content))
    prepare(source, tmp_path / "gaps", dataset="mosi", tokenizer="corpus")
    run = tiny_runs.write_tiny_run(tmp_path / "a", tmp_path / "gaps")
    found = evaluate(run, protocol="as-is", rates=None, seeds=None)
    own = found.metrics[found.metrics.model == "lnln"]
    assert set(own.pattern) == {"clean"}
    assert set(own.erased_audio) == {0.0}
    (record,) = found.summary["runs"]
    assert record["natural_gaps"]["audio"] == {"samples": 1, "runs": 1, "places": 3, "absent": 0}
    (note,) = record["notes"]
    assert note.startswith("natural gaps in test: audio: 3 zero frames in 1 run within 1 of 11")
    # A protocol that erases everything finds those gaps gone already, and says so once.
    split = open_dataset(tmp_path / "gaps").split("test")
    all_gone = evaluate(run, output=tmp_path / "all", rates=[1.0]).metrics
    places = int(split.lengths["audio"].sum())
    assert all_gone[all_gone.model == "lnln"].erased_audio.max() == 1 - 3 / places
    index = open_dataset(tmp_path / "gaps").index
    write_index(index.model_copy(update={"gaps": None}), tmp_path / "gaps")
    (record,) = evaluate(
        run, protocol="as-is", rates=None, seeds=None, output=tmp_path / "x"
    ).summary["runs"]
    assert record["natural_gaps"] is None
    assert any("were not counted: prepare them anew" in note for note in record["notes"])


def test_labels_that_lie_elsewhere_than_in_training_are_told_once(
    tmp_path: Path, evaluate: Callable[..., Any]
) -> None:
    source = tiny_runs.write_pickle(tmp_path / "f.pkl")
    prepare(source, tmp_path / "own", dataset="mosi", tokenizer="corpus")
    index = open_dataset(tmp_path / "own").index
    scales = {"train": LabelScale(mean=-1, sd=0.1), "test": LabelScale(mean=1, sd=0.1)}
    unlike = index.model_copy(update={"label_scales": scales})
    write_index(unlike, tmp_path / "own")
    runs = [tiny_runs.write_tiny_run(tmp_path / n, tmp_path / "own") for n in "ab"]
    found = evaluate(*runs, rates=[0.0], seeds=[1])
    lines = [line for line in render(*found) if isinstance(line, str) and "labels of" in line]
    (line,) = lines
    assert line.startswith("note: labels of test lie 2 above those of train")
    for record in found.summary["runs"]:
        assert line == f"note: {record['label_shift']}"
    # Nothing is known of what a run learned from elsewhere, nor of data of before.
    other = tiny_runs.write_tiny_run(tmp_path / "c", tmp_path / "own", data_hash="0" * 64)
    before = index.model_copy(update={"label_scales": None})
    for run, at in ((other, unlike), (runs[0], before)):
        write_index(at, tmp_path / "own")
        found = evaluate(run, rates=[0.0], seeds=[1], overwrite=True)
        assert found.summary["runs"][0]["label_shift"] is None
        assert not any("labels of" in str(line) for line in render(*found))


def test_checkpoints_of_one_epoch_are_predicted_with_once(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("best", *metrics.ALL["mosi"])
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, names=names)
    passes, real = [], robust.predict_case
    monkeypatch.setattr(robust, "predict_case", lambda *a, **k: passes.append(1) or real(*a, **k))
    evaluate(run, checkpoint="per-metric", output=tmp_path / "apart")
    assert len(passes) == len(metrics.ALL["mosi"])
    state, note = Run(run).load_best("corr")
    for name in ("acc7", "f1_non0"):
        save_best(run, state, {**note, "metric": name}, name=name)
    passes.clear()
    found = evaluate(run, checkpoint="per-metric", output=tmp_path / "shared")
    assert len(passes) == len(metrics.ALL["mosi"]) - 2
    alone = evaluate(run, checkpoint="corr", output=tmp_path / "corr").metrics
    for name in ("corr", "acc7", "f1_non0"):
        own = [t[(t.metric == name) & (t.model == "lnln")] for t in (found.metrics, alone)]
        np.testing.assert_array_equal(own[0].value, own[1].value)
    told = found.summary["runs"][0]["checkpoints"]
    assert told["acc7"]["metric"] == "acc7"
    # The same weights decide otherwise by other thresholds.
    for name, edge in (("acc5", 0.4), ("acc7", 0.5)):
        save_best(run, state, {**note, "thresholds": [-1.0, edge]}, name=name)
    passes.clear()
    evaluate(run, checkpoint="per-metric", output=tmp_path / "thresholds")
    assert len(passes) == len(metrics.ALL["mosi"]) - 1  # f1_non0 and corr


def test_every_score_from_its_own_checkpoint(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    names = ("best", *metrics.ALL["mosi"])
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, names=names)
    together = evaluate(run, checkpoint="per-metric", output=tmp_path / "all").metrics
    own = together[together.model == "lnln"]
    assert (own.checkpoint == own.metric).all()
    for name in ("mae", "corr"):
        alone = evaluate(run, checkpoint=name, output=tmp_path / name).metrics
        value = alone[(alone.metric == name) & (alone.model == "lnln")].value
        np.testing.assert_array_equal(own[own.metric == name].value, value)
    best = evaluate(run, output=tmp_path / "best").metrics
    assert (
        best[best.metric == "mae"].value.to_numpy()[:4] != own[own.metric == "mae"].value.to_numpy()
    ).all()
    table = pd.read_parquet(tmp_path / "all" / "predictions.parquet")
    assert set(table.checkpoint) == set(metrics.ALL["mosi"])


def test_runs_of_before_there_was_macro_f1_are_evaluated_per_metric(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    names = ("best", *metrics.METRICS["mosi"])
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, names=names)
    found = evaluate(run, checkpoint="per-metric").metrics
    assert set(found[found.model == "lnln"].metric) == set(metrics.METRICS["mosi"])


def test_several_runs_and_the_summary(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    runs = [
        tiny_runs.write_tiny_run(tmp_path / "one" / "run", data, seed=1),
        tiny_runs.write_tiny_run(tmp_path / "two" / "run", data, seed=2),
        tiny_runs.write_tiny_run(tmp_path / "other", data, seed=1, padding="corpus"),
    ]
    found = evaluate(*runs)
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    first, second, other = summary["runs"]
    assert [r["run"] for r in summary["runs"]] == ["one/run", "two/run", f"{tmp_path.name}/other"]
    assert first["group"] == second["group"] != other["group"]
    assert first["training"] == second["training"]
    assert (first["training"]["data.padding"], other["training"]["data.padding"]) == (
        "batch",
        "corpus",
    )
    assert first["training"]["train.epochs"] == 200
    assert not {"train.seed", "data.path"} & set(first["training"])
    assert not any(key.startswith(("model.", "loss.")) for key in first["training"])
    assert first["config_hash"] == Run(runs[0]).info.config_hash
    assert first["data_hash"] == first["trained_on"]["data_hash"]
    assert first["checkpoints"]["best"]["epoch"] == 3
    assert first["notes"] == []
    assert summary["protocol"] == "custom of paper"
    assert summary["protocol_words"].startswith("custom of paper v1: random at 0, 0.6;")
    assert summary["protocol_definition"]["seeds"] == [1, 2]
    assert summary["versions"]["torch"] == torch.__version__
    assert found.summary["runs"][0]["run"] == "one/run"
    assert set(found.metrics.run) == {"one/run", "two/run", f"{tmp_path.name}/other"}


def test_an_undefined_score_in_a_note_is_null(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    state, note = Run(run).load_best()
    save_best(run, state, {**note, "score": float("nan")})
    evaluate(run)
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())["runs"][0]
    assert record["checkpoints"]["best"]["score"] is None


def test_collapsed_predictions_raise_an_alarm(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    state, note = Run(run).load_best()
    save_best(run, {**state, "sentiment.weight": 0 * state["sentiment.weight"]}, note)
    found = evaluate(run)
    [collapsed] = [line for line in found.summary["alarms"] if "collapse" in line]
    [constant] = [line for line in found.summary["alarms"] if "no better" in line]
    assert collapsed.startswith("a: predictions collapse at missing rate 0.0, 0.6 (")
    assert constant.startswith("a: no better than a constant: mean mae ")
    assert found.metrics[found.metrics.metric == "corr"].value.isna().all()


def test_predictions_that_are_not_finite_are_refused(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    state, note = Run(run).load_best()
    save_best(run, {**state, "sentiment.bias": torch.full((1,), torch.nan)}, note)
    with pytest.raises(CheckpointError, match=f"{N} of {N} predictions are not finite"):
        evaluate(run)
    assert not (tmp_path / "out").exists()


def test_an_existing_output_is_kept_unless_told(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    evaluate(run)
    with pytest.raises(UserError, match=r"exists.*--overwrite"):
        evaluate(run)
    evaluate(run, overwrite=True, rates=[0.3])
    assert set(pd.read_csv(tmp_path / "out" / "metrics.csv").rate_text.dropna()) == {0.3}
    with pytest.raises(UserError, match="is not an evaluation"):
        evaluate(run, overwrite=True, output=run)
    assert (run / "run.json").exists()


def test_an_unwritable_output_is_found_before_computing(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(robust, "open_cases", lambda *a, **k: pytest.fail("too late"))
    with pytest.raises(UserError, match="cannot write"):
        evaluate(run, output=tmp_path / "file" / "out")


def test_nothing_to_do_is_an_error(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    for runs, choices in (([], {}), ([run], {"rates": []}), ([run], {"seeds": []})):
        with pytest.raises(UserError, match="nothing to evaluate"):
            evaluate(*runs, **choices)
    evaluate(run, rates=[], missing=[("text", "audio")])


def test_nothing_pending_is_left(tmp_path: Path, data: Path, evaluate: Callable[..., Any]) -> None:
    evaluate(tiny_runs.write_tiny_run(tmp_path / "a", data))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "out"]
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["evaluation.json", "metrics.csv", "predictions.parquet"]


def test_completeness_is_calibrated_and_an_idle_check_is_an_alarm(
    tmp_path: Path, data: Path, evaluate: Callable[..., Any]
) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    found = evaluate(run, missing=[("text",)])
    told = found.summary["runs"][0]["checkpoints"]["best"]["completeness"]
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    own = table[table.pattern == "random"].groupby("rate")["completeness"]
    assert [v["mean"] for v in told["by_rate"].values()] == pytest.approx(own.mean(), rel=1e-6)
    assert [v["sd"] for v in told["by_rate"].values()] == pytest.approx(own.std(ddof=0), rel=1e-5)
    assert told["slope"] == pytest.approx((own.mean()[0.0] - own.mean()[0.6]) / 0.6)
    idle = "a: slope .* predicted completeness does not follow the missing rate"
    assert [re.match(idle, line) is not None for line in found.summary["alarms"]].count(True) == 1
    assert "predicted completeness: 0." in "\n".join(
        part for part in render(found.metrics, found.summary) if isinstance(part, str)
    )
    single = evaluate(run, rates=[0.5], output=tmp_path / "single").summary
    assert (
        json.loads((tmp_path / "single" / "evaluation.json").read_text())["runs"][0]["checkpoints"][
            "best"
        ]["completeness"]["slope"]
        is None
    )
    assert not any("completeness" in line for line in single["alarms"])
