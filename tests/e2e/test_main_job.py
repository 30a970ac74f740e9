"""Synthesize, prepare, train, evaluate, predict: the whole path, and what it leaves behind."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command_line import TINY, Command
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.e2e


def test_help_is_light() -> None:
    heavy = "torch transformers deepspeed ray accelerate pandas pyarrow"
    for verb in ([], ["train", "--help"], ["evaluate", "--help"], ["prepare", "--help"]):
        code = (
            "import sys\n"
            "from lnln_dist import cli\n"
            f"try:\n    cli.dispatch({verb!r})\n"
            "except SystemExit as end:\n    assert not end.code\n"
            f"found = [m for m in {heavy!r}.split() if m in sys.modules]\n"
            "assert not found, found\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "usage: lnln-dist" in done.stdout


def test_every_verb_has_help(command: Command) -> None:
    from lnln_dist.cli import VERBS

    for verb in VERBS:
        assert f"usage: lnln-dist {verb}" in command(verb, "--help").stdout


def test_verify_says_that_all_is_well(corpus: Path, command: Command) -> None:
    assert "all hashes, counts and values are right" in command("verify", corpus / "data").stdout


def test_the_run_folder_explains_itself(trained: Path) -> None:
    info = json.loads((trained / "run.json").read_text())
    assert info["dataset"] == "demo"
    assert info["versions"]["torch"]
    assert len(info["config_hash"]) == 12
    assert "tiny_width: 16" in (trained / "config.yaml").read_text()
    assert (trained / "encoder" / "config.json").is_file()
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 11))
    assert {line["epoch"] for line in lines if line["kind"] == "score"} == {1, 2}
    assert [p.name for p in (trained / "checkpoints").iterdir() if p.name[0] != "."] == [
        "step-00000005",
        "step-00000010",
    ]


def test_tensorboard_has_every_term_rate_and_score(trained: Path) -> None:
    events = EventAccumulator(str(trained / "events"), size_guidance={"scalars": 0}).Reload()
    tags = set(events.Tags()["scalars"])
    terms = ("completeness", "adversarial", "reconstruction", "sentiment")
    expected = {f"{kind}/{term}" for kind in ("loss", "loss_weighted") for term in terms}
    expected |= {"loss/total", "optim/grad_norm", "optim/lr/encoder_decay", "optim/lr/rest_plain"}
    expected |= {"completeness/predicted", "completeness/label", "speed/samples_per_s"}
    expected |= {"memory/peak_gib", "valid/mae/mean", "valid/mae/r0.0", "valid/acc7/r0.5"}
    assert expected <= tags
    assert len(events.Scalars("loss/total")) == 10


def test_evaluation_has_all_rates_metrics_and_floors(
    trained: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "scores"
    shown = command("evaluate", trained, "--output", out, "--seeds", "1,2").stdout
    assert "constant" in shown
    metrics = pd.read_csv(out / "metrics.csv", keep_default_na=True)
    own = metrics[metrics.model != "constant"]
    assert sorted(own.rate_text.unique()) == pytest.approx([i / 10 for i in range(10)])
    assert set(own.metric) >= {"acc7", "acc5", "acc3", "acc2_non0", "f1_has0", "mae", "corr"}
    assert set(own.noise_seed) == {1, 2}
    assert (own[own.metric == "mae"].n == 24).all()
    predictions = pd.read_parquet(out / "predictions.parquet")
    assert len(predictions) == 24 * 10 * 2
    one = predictions[(predictions.rate == 0.5) & (predictions.noise_seed == 1)]
    assert one.id.is_unique
    mae = (one.label - one.prediction).abs().mean()
    row = own[(own.rate_text == 0.5) & (own.noise_seed == 1) & (own.metric == "mae")]
    assert row.value.item() == pytest.approx(mae, rel=1e-5)


def test_text_alone_is_scored_with_the_others_absent(
    trained: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "text"
    command(
        *("evaluate", trained, "--output", out, "--rates", "0.0,0.5", "--seeds", "1"),
        *("--absent", "audio,vision"),
    )
    own = pd.read_csv(out / "metrics.csv").query("model != 'constant'")
    assert set(own.rate_audio) == set(own.rate_vision) == {1.0}
    assert set(own.rate_text) == {0.0, 0.5}


def test_predictions_of_a_pickle_equal_those_of_its_shards(
    corpus: Path, trained: Path, tmp_path: Path, command: Command
) -> None:
    command("predict", trained, corpus / "data", "--output", tmp_path / "a.csv")
    command("predict", trained, corpus / "corpus.pkl", "--output", tmp_path / "b.csv")
    a, b = pd.read_csv(tmp_path / "a.csv"), pd.read_csv(tmp_path / "b.csv")
    pd.testing.assert_frame_equal(a, b)
    assert len(a) == 24


def test_a_file_of_one_unlabelled_split_is_predicted(
    corpus: Path, trained: Path, tmp_path: Path, command: Command
) -> None:
    test = pickle.loads((corpus / "corpus.pkl").read_bytes())["test"]
    del test["regression_labels"], test["id"]
    (tmp_path / "own.pkl").write_bytes(pickle.dumps({"unlabelled": test}))
    shown = command(
        "predict", trained, tmp_path / "own.pkl", "--output", tmp_path / "own.csv"
    ).stdout
    assert shown == (
        "note: the file has no split test: predicting unlabelled\n"
        f"{tmp_path / 'own.csv'}: 24 predictions of split unlabelled\n"
    )
    own = pd.read_csv(tmp_path / "own.csv")
    command("predict", trained, corpus / "data", "--output", tmp_path / "whole.csv")
    pd.testing.assert_series_equal(own.prediction, pd.read_csv(tmp_path / "whole.csv").prediction)
    assert own.label.isna().all()
    assert own.id.tolist() == [f"unlabelled-{row}" for row in range(24)]


def test_the_same_run_twice_is_the_same_bit_for_bit(
    corpus: Path, trained: Path, tmp_path: Path, command: Command
) -> None:
    again = tmp_path / "again"
    command("train", "--config", TINY, "--data.path", corpus / "data", "--output", again)
    one, other = (load_file(r / "best" / "best.safetensors") for r in (trained, again))
    assert all((one[name] == other[name]).all() for name in one)


def test_print_config_resolves_and_reads_back(tmp_path: Path, command: Command) -> None:
    shown = command("train", "--config", TINY, "--train.seed", "5", "--print-config").stdout
    (tmp_path / "resolved.yaml").write_text(shown)
    assert "seed: 5" in shown
    again = command("train", "--config", tmp_path / "resolved.yaml", "--print-config").stdout
    assert again == shown
