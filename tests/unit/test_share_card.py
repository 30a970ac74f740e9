"""The model card and the scores in it."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_runs
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from lnln_dist import cli
from lnln_dist.errors import UserError
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.report.read import read
from lnln_dist.report.seeds import over_rates
from lnln_dist.runtime import Runtime
from lnln_dist.share.model import load


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data``, runs ``a`` and ``b``, and their evaluation in ``results``."""
    folder = tmp_path_factory.mktemp("card")
    tiny_runs.write_data(folder / "data")
    runs = [
        tiny_runs.write_tiny_run(folder / name, folder / "data", seed=seed, dataset="demo")
        for seed, name in enumerate("ab")
    ]
    choices = {"rates": [0.0, 0.5], "seeds": [1, 2], "missing": [("text",)]}
    evaluate_runs(runs, output=folder / "results", runtime=Runtime(cpu=True), **choices)
    return folder


def test_scores_stand_in_the_card_and_for_the_hub(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    code = cli.dispatch(
        ["export", str(place / "b"), str(target), "--results", str(place / "results")]
    )
    assert code == 0
    found = {run.name: over_rates(run.metrics) for run in read([place / "results"])}
    own, other = found["b"]["mae"], found["a"]["mae"]
    assert own != pytest.approx(other, abs=1e-3)
    text = (target / "README.md").read_text()
    assert f"| mae | {own:.4f} |" in text
    assert "**synthetic**" in text
    assert "protocol custom of paper, split test, checkpoint chosen on valid" in text
    assert "`lnln-dist evaluate RUN --data DATA --split test" in text
    assert str(place) not in text
    card = ModelCard(text)
    (mae,) = [r for r in card.data.eval_results or [] if r.metric_type == "mae"]
    assert mae.metric_value == pytest.approx(own, abs=1e-6)
    assert mae.dataset_split == "test"
    (path,) = (target / ".eval_results").iterdir()
    entries = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    (entry,) = [e for e in entries if e.task_id == "mae"]
    assert entry.value == pytest.approx(own, abs=1e-6)
    assert "95 % interval" in (entry.notes or "")


def test_alarms_of_these_weights_stand_in_the_card(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    path = tmp_path / "results" / "evaluation.json"
    summary = json.loads(path.read_text())
    summary["alarms"] = ["a: one class is never told", "b: completeness does not follow the rate"]
    path.write_text(json.dumps(summary))
    model = load(place / "b", cpu=True)
    model.save_pretrained(tmp_path / "model", results=tmp_path / "results")
    text = (tmp_path / "model" / "README.md").read_text()
    assert "- **completeness does not follow the rate**\n" in text
    assert "never told" not in text


def test_scores_of_other_weights_are_refused(place: Path, tmp_path: Path) -> None:
    model = load(place / "a", cpu=True)
    next(model.network.parameters()).data.add_(1)
    with pytest.raises(UserError, match="no run there has the weights"):
        model.save_pretrained(tmp_path / "model", results=place / "results")
    assert not (tmp_path / "model").exists()


def test_without_scores_the_card_says_so(place: Path, tmp_path: Path) -> None:
    left = tmp_path / ".pending-model-77-0123abcd"  # by a process that was killed
    left.mkdir()
    load(place / "a", cpu=True).save_pretrained(tmp_path / "model")
    assert not left.exists()
    text = (tmp_path / "model" / "README.md").read_text()
    assert "None were given" in text
    assert not (tmp_path / "model" / ".eval_results").exists()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "lnln"
