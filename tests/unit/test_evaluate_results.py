"""The files of an evaluation."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lnln_dist.errors import UserError
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.protocol import grid
from lnln_dist.evaluate.registry import PROTOCOLS, customised
from lnln_dist.evaluate.results import Results, Subject

LABEL = np.array([0.0, 1.0, -2.0], np.float32)
SHARES = {"text": 0.125, "audio": 0.5, "vision": 0.0}
ERASED = {m: np.arange(3) + 4 * (m == "audio") for m in SHARES}
ODD = ["a,b", 'c"d', "\u4f60\u597d"]


class Split(SimpleNamespace):
    """As much of a split as the files need."""

    def __len__(self) -> int:
        return len(self.ids)


@pytest.fixture
def results() -> Results:
    made = Results()
    split = Split(ids=ODD, labels=LABEL)
    for run, seed in (("one", 1), ("two", None)):
        subject = Subject(run, "lnln", seed, "test", "paper")
        paper, lost = PROTOCOLS["paper"], [("text", "audio")]
        for cell in customised(paper, rates=[0.1], seeds=[4], missing=lost).cells():
            values = {"acc2_non0": 1 / 3, "corr": float("nan")}
            chosen = {"checkpoint": "best", "selected_on": "valid"}
            made.add_scores(subject, cell, values, label=LABEL, erased=SHARES, **chosen)
            found = Predictions(LABEL * 2, {"completeness": LABEL * 0 + cell.rate}, ERASED)
            made.add_predictions(subject, cell, found, split=split, checkpoint="best")
        made.add_floors(subject, {"acc2_non0": 0.5}, label=LABEL)
    return made


def test_scores_keep_every_digit_and_undefined_ones_are_empty(
    tmp_path: Path, results: Results
) -> None:
    results.write(tmp_path / "out", {}, overwrite=False)
    text = (tmp_path / "out" / "metrics.csv").read_text()
    lines = text.splitlines()
    assert lines[1] == (
        "one,lnln,1,test,paper,random,0.1,0.1,0.1,0.1,0.125,0.5,0.0,4,acc2_non0,0.3333333333333333,2,best,valid"
    )
    assert lines[2].endswith(",corr,,3,best,valid")
    assert lines[3].startswith(
        "one,lnln,1,test,paper,missing:text+audio,1.0,1.0,1.0,0.0,0.125,0.5,0.0,4,"
    )
    assert lines[5] == "one,constant,,test,paper,,,,,,,,,,acc2_non0,0.5,2,,"
    assert lines[6].startswith("two,lnln,,test,")
    frame = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert frame.value[0] == 1 / 3


def test_predictions_read_back(tmp_path: Path, results: Results) -> None:
    results.write(tmp_path / "out", {}, overwrite=False)
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert list(table.columns[:13]) == [
        *("run", "id", "split", "protocol", "pattern", "rate", "noise_seed"),
        *("label", "prediction", "erased_text", "erased_audio", "erased_vision", "completeness"),
    ]
    assert table.erased_audio.tolist() == [4, 5, 6] * 4
    assert table.id.tolist() == ODD * 4
    assert table.run.tolist() == ["one"] * 6 + ["two"] * 6
    assert table.pattern.tolist() == (["random"] * 3 + ["missing:text+audio"] * 3) * 2
    assert table.rate.tolist() == ([0.1] * 3 + [1.0] * 3) * 2
    assert table.prediction.tolist() == (LABEL * 2).tolist() * 4
    assert table.prediction.dtype == table.label.dtype == np.float32


def test_the_summary_is_plain_json(tmp_path: Path, results: Results) -> None:
    left = tmp_path / ".pending-out-77-0123abcd"  # by a process that was killed
    left.mkdir()
    results.write(tmp_path / "out", {"a": [{"b": float("nan")}, 1.5]}, overwrite=False)
    assert not left.exists()
    text = (tmp_path / "out" / "evaluation.json").read_text()
    assert json.loads(text) == {"a": [{"b": None}, 1.5]}


def test_a_failure_leaves_nothing(tmp_path: Path, results: Results) -> None:
    with pytest.raises(TypeError):
        results.write(tmp_path / "out", {"a": object()}, overwrite=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists"):
        results.write(tmp_path / "out", {}, overwrite=False)


def test_families_with_other_extras_share_a_table(tmp_path: Path, results: Results) -> None:
    (cell,) = grid([0.5], [4])
    found = Predictions(LABEL, {"doubt": LABEL * 3}, ERASED)
    subject = Subject("three", "own", 1, "test", "paper")
    split = Split(ids=ODD, labels=LABEL)
    results.add_predictions(subject, cell, found, split=split, checkpoint="best")
    results.write(tmp_path / "out", {}, overwrite=False)
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet").set_index("run")
    assert table.loc["three"].doubt.tolist() == (LABEL * 3).tolist()
    assert table.loc["three"].completeness.isna().all()
    assert table.loc[["one", "two"]].doubt.isna().all()
    assert table.loc[["one", "two"]].completeness.notna().all()
