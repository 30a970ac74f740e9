"""The page of a report: its JSON, its script and its size."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from evaluations import write_evaluation

from lnln_dist.errors import UserError
from lnln_dist.report import page
from lnln_dist.report.comparison import Comparison, compare
from lnln_dist.report.page import LIMIT, data_of, json_for_script, provenance, render
from lnln_dist.report.tables import tables_of

RUNS = {f"{name}_{seed}": (name, seed, 0.5) for name in ("a", "b") for seed in (1, 2)}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare([write_evaluation(tmp_path_factory.mktemp("e") / "res", RUNS)])


def rendered(found: Comparison) -> tuple[str, dict[str, Any]]:
    scores = {"mae": found.compared}
    data = data_of(found, scores, lambda run, conditions: "there are none")
    return render(found, tables_of(found, scores), data, words=["one"], command="do <it>"), data


def test_json_cannot_end_its_element() -> None:
    text = json_for_script({"a": "</script><!--&\u2029", "b": float("nan"), "c": 1 / 3})
    assert not set("<>&\u2029") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2029", "b": None, "c": 0.33333}


def test_a_page_beyond_the_limit_loses_samples_first(
    found: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, data = rendered(found)
    full = len(text.encode())
    assert full < LIMIT
    assert len(data["protocols"][0]["samples"]) == 60
    monkeypatch.setattr(page, "LIMIT", full - 1500)
    text, data = rendered(found)
    assert len(text.encode()) <= full - 1500
    assert 20 < len(data["protocols"][0]["samples"]) < 60
    monkeypatch.setattr(page, "LIMIT", 1000)
    with pytest.raises(UserError, match="give fewer results"):
        rendered(found)


def test_what_made_the_page_is_told(found: Comparison) -> None:
    text, _ = rendered(found)
    assert "do &lt;it&gt;" in text
    (evaluation,), runs = provenance(found)
    assert evaluation["protocol"] == "paper"
    assert len(evaluation["sha256 of predictions.parquet"]) == 64
    assert [run["run"] for run in runs] == list(RUNS)
    assert runs[0]["data hash"] == "d"
    assert "none" not in evaluation["split"]


def test_the_script_writes_text_nodes_only() -> None:
    script = (Path(page.__file__).with_name("html") / "report.js").read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch|http(?!:\/\/www\.w3\.org)",
        script,
    )


@pytest.mark.parametrize("choice", [{"absent": ["text"]}, {"rates": [], "missing": [["audio"]]}])
def test_completeness_is_drawn_over_rates_of_the_text_alone(
    tmp_path: Path, choice: dict[str, Any]
) -> None:
    folder = write_evaluation(tmp_path / "res", {"a": ("a", 1, 0.5)}, slope=0.4, **choice)
    _, data = rendered(compare([folder]))
    assert data["protocols"][0]["calibration"] == [{}]


def test_a_model_of_three_classes_is_confused_among_three(tmp_path: Path) -> None:
    res = write_evaluation(tmp_path / "res", {"a": ("a", 1, 0.5)})
    file = res / "evaluation.json"
    summary = json.loads(file.read_text())
    summary["runs"][0]["task"] = "three-class"
    file.write_text(json.dumps(summary))
    found = compare([res], "acc3")
    data = data_of(found, {"acc3": found.compared}, lambda run, conditions: "there are none")
    part = data["protocols"][0]
    assert part["classes"] == [["negative", "neutral", "positive"]]
    assert len(part["confusion"][0][0]) == 3
