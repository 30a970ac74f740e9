"""A user's own model, from a file outside the package, through the real command line."""

import os
from pathlib import Path

import pandas as pd
import pytest
from command_line import TINY, Command
from safetensors.torch import load_file
from test_resume import killed_after, same

pytestmark = pytest.mark.e2e
SPEC = "own_model:SPEC"
OPTIONS = (
    *("--config", TINY, "--model.name", SPEC, "--model.hidden", "4"),
    *("--train.checkpoint_steps", "2", "--model.encoder.dropout", "0.1"),
)


@pytest.fixture(autouse=True)
def findable(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def test_it_is_trained_killed_resumed_and_scored(corpus: Path, command: Command) -> None:
    data, runs = ("--data.path", corpus / "data"), [corpus / "own", corpus / "own_killed"]
    command("train", *OPTIONS, *data, "--output", runs[0])
    killed_after(("train", *OPTIONS, *data, "--output", runs[1]), runs[1], step=2)
    command("train", *OPTIONS, *data, "--output", runs[1], "--resume")
    final = Path("checkpoints") / "step-00000010" / "model.safetensors"
    assert same(runs[0] / final, runs[1] / final)
    assert "head.weight" in load_file(runs[0] / "best" / "best.safetensors")
    # Beside a run of LNLN: rows say which model they are of, and each has its own extras.
    command("train", "--config", TINY, *data, "--model.name", "text", "--output", corpus / "text")
    grid = ("--rates", "0.0,0.5", "--seeds", "1")
    command("evaluate", runs[0], corpus / "text", *grid, "--output", corpus / "scores")
    scores = pd.read_csv(corpus / "scores" / "metrics.csv")
    assert set(scores["model"]) == {SPEC, "text", "constant"}
    rows = pd.read_parquet(corpus / "scores" / "predictions.parquet")
    own = rows["run"].astype(str) == "own"
    assert rows.loc[own, "energy"].notna().all()
    assert rows.loc[~own, "energy"].isna().all()
    assert rows["prediction"].notna().all()
    command("predict", runs[0], corpus / "corpus.pkl", "--output", corpus / "own.csv")
    assert list(pd.read_csv(corpus / "own.csv")) == ["id", "label", "prediction", "energy"]


def test_a_run_whose_model_is_gone_is_one_line(
    corpus: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    done = command("predict", corpus / "own", corpus / "data", "--output", corpus / "x.csv", code=2)
    assert "own_model:SPEC cannot be imported" in done.stderr
    assert "PYTHONPATH" in done.stderr
    assert done.stderr.count("\n") == 1
