"""A user's mistakes: one line that says what and what to do, an exit code, nothing half-written."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TINY

pytestmark = pytest.mark.e2e
Refused = Callable[..., str]


class Exploit:
    """Runs a command when unpickled by something careless."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


@pytest.fixture
def content(corpus: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = pickle.loads((corpus / "corpus.pkl").read_bytes())
    return loaded


def write(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def repeat_id(c: dict[str, Any]) -> None:
    c["train"]["id"][1] = c["train"]["id"][0]


def empty(c: dict[str, Any]) -> None:
    c["valid"] = {k: v[:0] for k, v in c["valid"].items()}


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no test split": (lambda c: c.pop("test"), "test"),
    "no audio": (lambda c: c["train"].pop("audio"), "audio"),
    "no labels": (lambda c: c["train"].pop("regression_labels"), "regression_labels"),
    "label too large": (
        lambda c: c["train"]["regression_labels"].__setitem__(3, 7.0),
        "label",
    ),
    "label not a number": (
        lambda c: c["train"]["regression_labels"].__setitem__(3, np.nan),
        "label",
    ),
    "unequal rows": (lambda c: c["train"].update(vision=c["train"]["vision"][:-1]), "vision"),
    "duplicate id": (repeat_id, "id"),
    "empty split": (empty, "valid"),
    "a list": (lambda c: c.update(train=[1]), "train"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_feature_file_that_cannot_be_used(
    name: str, content: dict[str, Any], tmp_path: Path, refused: Refused
) -> None:
    change, named = CHANGES[name]
    change(content)
    source = write(tmp_path / "bad.pkl", content)
    error = refused(
        "prepare", source, tmp_path / "out", "--dataset", "demo", "--tokenizer", "corpus"
    )
    assert named in error
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pkl"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"not a pickle", "pickle"), (b"", "pickle|empty"), (pickle.dumps({"a": 1})[:-3], "pickle")],
)
def test_not_a_pickle(raw: bytes, expected: str, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "bad.pkl").write_bytes(raw)
    error = refused("prepare", tmp_path / "bad.pkl", tmp_path / "out", "--dataset", "mosi")
    assert any(word in error for word in expected.split("|")), error


def test_a_pickle_with_code_in_it_is_refused_and_not_run(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused("prepare", write(tmp_path / "bad.pkl", Exploit()), "out", "--dataset", "mosi")
    assert "system" in error
    assert not (tmp_path / "pwned").exists()


def test_outputs_that_exist_are_kept(corpus: Path, trained: Path, refused: Refused) -> None:
    source = corpus / "corpus.pkl"
    demo = ("--dataset", "demo", "--tokenizer", "corpus")
    assert "--overwrite" in refused("prepare", source, corpus / "data", *demo)
    assert "--overwrite" in refused("synthesize", source)
    data = ("--data.path", corpus / "data")
    assert "--resume" in refused("train", "--config", TINY, *data, "--output", trained)


@pytest.mark.parametrize("place", ["/proc/nowhere/out", "/dev/null/out"])
def test_an_output_that_cannot_be_written(
    corpus: Path, place: str, trained: Path, refused: Refused
) -> None:
    demo = ("--dataset", "demo", "--tokenizer", "corpus")
    assert "cannot write" in refused("prepare", corpus / "corpus.pkl", place, *demo)
    data = ("--data.path", corpus / "data")
    assert "cannot write" in refused("train", "--config", TINY, *data, "--output", place)
    assert "cannot write" in refused("evaluate", trained, "--output", place)


@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_a_damaged_shard_is_named(
    corpus: Path, tmp_path: Path, harm: str, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    from lnln_dist import cli, console

    data = tmp_path / "data"
    shutil.copytree(corpus / "data", data)
    shard = next(data.glob("**/train*.arrow"))
    raw = bytearray(shard.read_bytes())
    if harm == "cut":
        shard.write_bytes(raw[:-100])
    elif harm == "flip":
        raw[len(raw) // 2] ^= 4
        shard.write_bytes(raw)
    else:
        shard.unlink()
    assert console.finish(cli.dispatch, ["verify", str(data)]) != 0
    assert shard.name in capsys.readouterr().err
    if harm != "flip":
        run = ("--data.path", data, "--output", tmp_path / "run")
        assert shard.name in refused("train", "--config", TINY, *run)
        assert not (tmp_path / "run").exists()


def test_another_tokenizer_than_the_encoders(
    corpus: Path, tmp_path: Path, refused: Refused
) -> None:
    from encoder_files import write_bert

    encoder = write_bert(tmp_path / "encoder")
    error = refused(
        *("train", "--config", TINY, "--data.path", corpus / "data"),
        *("--output", tmp_path / "run", "--model.encoder.name", encoder),
        *("--model.encoder.dropout", "0.0"),
    )
    assert "--tokenizer" in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "did you mean train"),
        (["train", "--config", TINY], "--output is missing"),
        (["train", "--config", TINY, "--output", "x"], "data.path is empty"),
        (["train", "--config", TINY, "--output", "x", "--data.path", "nowhere"], "nowhere"),
        (["train", "--noise.clean_share", "1.2"], "noise.clean_share"),
        (["train", "--train.epoch", "1"], "did you mean --train.epochs"),
        (["evaluate", "nowhere", "--output", "x"], "nowhere: no such run folder"),
        (["evaluate", "nowhere", "--output", "x", "--rates", "0.1,x"], "--rates"),
        (["evaluate", "nowhere", "--output", "x", "--protocol", "papr"], "did you mean paper"),
        (["synthesize", "x.pkl", "--samples", "1,2"], "--samples"),
        (["prepare", "nowhere.pkl", "out", "--dataset", "mosi"], "nowhere.pkl"),
        (["prepare", "nowhere.pkl", "out", "--dataset", "own"], "--family"),
        (["verify", "nowhere"], "nowhere"),
        (["predict", "nowhere", "x", "--output", "y.csv"], "nowhere"),
        (
            ["import-checkpoint", "no.pth", "out", "--encoder", "no", "--dataset", "mosi"],
            "no",
        ),
    ],
)
def test_wrong_arguments(
    arguments: list[str | Path],
    expected: str,
    refused: Refused,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in refused(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_the_data_does_not_have(
    corpus: Path, tmp_path: Path, refused: Refused
) -> None:
    run = ("--data.path", corpus / "data", "--output", tmp_path / "run")
    error = refused("train", "--config", TINY, *run, "--select.metric", "acc9")
    assert "select.metric" in error
    assert "choose one of acc7" in error


def test_resuming_with_other_settings_or_data_names_them(
    corpus: Path, trained: Path, tmp_path: Path, refused: Refused
) -> None:
    run = ("--data.path", corpus / "data", "--output", trained, "--resume")
    error = refused("train", "--config", TINY, *run, "--loss.adversarial", "0.5")
    assert "loss.adversarial: 0.8 there, 0.5 here" in error
    from tiny_runs import write_data

    write_data(tmp_path / "other")
    run = ("--data.path", tmp_path / "other", "--output", trained, "--resume")
    assert "other data" in refused("train", "--config", TINY, *run)


def test_overwrite_does_not_remove_what_is_no_run(
    corpus: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    run = ("--data.path", corpus / "data", "--output", tmp_path, "--overwrite")
    assert "other things than a run" in refused("train", "--config", TINY, *run)
    assert (tmp_path / "thesis.tex").exists()
