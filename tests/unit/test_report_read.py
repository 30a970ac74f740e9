"""Folders of evaluations, also of before protocols were objects."""

import json
from pathlib import Path

import pandas as pd
import pytest
from evaluations import write_evaluation

from lnln_dist.errors import UserError
from lnln_dist.report.comparison import compare
from lnln_dist.report.read import read

RUNS = {"a1": ("lnln", 1, 0.5)}


def rewrite(folder: Path, **changes: object) -> None:
    """Changes entries of evaluation.json; None takes one away."""
    path = folder / "evaluation.json"
    summary = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in summary.items() if v is not None}))


def test_a_folder_without_definition_and_shares_reads_as_before(tmp_path: Path) -> None:
    choices = {"missing": [("text",)], "absent": ("vision",)}
    new = write_evaluation(tmp_path / "new", RUNS, **choices)
    old = write_evaluation(tmp_path / "old", RUNS, **choices)
    frame = pd.read_csv(old / "metrics.csv")
    lately = [c for c in frame if c == "rate" or c.startswith("erased_")]
    assert len(lately) == 4
    frame.drop(columns=lately).to_csv(old / "metrics.csv", index=False)
    table = pd.read_parquet(old / "predictions.parquet")
    table = table.drop(columns=["protocol", *(c for c in table if c.startswith("erased_"))])
    table.to_parquet(old / "predictions.parquet")
    (one,), (two,) = read([new]), read([old])
    assert two.protocol == "paper, without vision"
    for a, b in zip(one.grid("mae")[:2], two.grid("mae")[:2], strict=True):
        assert (a == b).all()
    assert one.metrics["rate"].tolist() == two.metrics["rate"].tolist()


def test_one_name_for_two_definitions_is_refused(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", RUNS)
    two = write_evaluation(tmp_path / "two", {"b1": ("text", 1, 0.5)})
    rewrite(one, protocol_definition={"name": "mine", "grids": [{"spans": 1}]})
    rewrite(two, protocol_definition=None)
    assert len(read([one, two])) == 2  # an older folder has none
    rewrite(two, protocol_definition={"name": "mine", "grids": [{"spans": 2}]})
    with pytest.raises(UserError, match="evaluate them alike"):
        read([one, two])
    rewrite(two, protocol="mine v2", protocol_words="mine v2: two spans")
    assert len({run.protocol for run in read([one, two])}) == 2
    assert "protocol mine v2: two spans" in compare([one, two]).words


@pytest.mark.parametrize(
    "content", ["[]", "3", '{"protocol": "paper", "runs": [3]}', "[" * 100_000, '{"a": NaN']
)
def test_a_summary_of_another_shape_is_damaged(tmp_path: Path, content: str) -> None:
    one = write_evaluation(tmp_path / "one", RUNS)
    (one / "evaluation.json").write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        read([one])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs": []}, "runs: List should have at least 1 item"),
        ({"samples": "x"}, r"runs\.0\.samples"),
        ({"train_seed": -1}, r"runs\.0\.train_seed"),
        ({"group": None}, r"runs\.0\.group: Input should be a valid string"),
        ({"family": "other"}, r"runs\.0\.family"),
        ({"label_shift": ["x"]}, r"runs\.0\.label_shift"),
        ({"alarms": 3}, "alarms"),
    ],
)
def test_a_summary_with_other_values_is_damaged(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    one = write_evaluation(tmp_path / "one", RUNS)
    if not changes.keys() & {"runs", "alarms"}:
        run = json.loads((one / "evaluation.json").read_text())["runs"][0]
        changes = {"runs": [run | changes]}
    rewrite(one, **changes)
    with pytest.raises(UserError, match=rf"one is damaged \(evaluation\.json: {said}") as caught:
        compare([one])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["metrics.csv", "predictions.parquet"])
@pytest.mark.parametrize("how", ["lacks", "words"])
def test_tables_without_numbers_are_damaged(name: str, how: str, tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", RUNS)
    csv = name.endswith("csv")
    table = pd.read_csv(one / name) if csv else pd.read_parquet(one / name)
    numbers = ["value", "noise_seed"] if csv else ["prediction", "label", "rate", "noise_seed"]
    for column in numbers:
        made = table.drop(columns=column) if how == "lacks" else table.assign(**{column: "x"})
        made.to_csv(one / name, index=False) if csv else made.to_parquet(one / name)
        with pytest.raises(UserError, match="one is damaged") as caught:
            compare([one])
        assert "\n" not in str(caught.value)


def test_other_checkpoints_are_other_models(tmp_path: Path) -> None:
    best = write_evaluation(tmp_path / "best", {"a1": ("lnln", 1, 0.5)}, checkpoint="best")
    corr = write_evaluation(tmp_path / "corr", {"a2": ("lnln", 2, 0.9)}, checkpoint="corr")
    old = write_evaluation(tmp_path / "old", {"a3": ("lnln", 3, 0.5)})
    found = compare([best, corr, old]).models
    assert found["training_seeds"].tolist() == [2, 1]
