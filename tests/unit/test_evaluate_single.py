"""Predictions of one run as a CSV file."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_runs

from lnln_dist.data.schema import FRAMES
from lnln_dist.errors import DataError, UserError
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.evaluate.single import predict_file
from lnln_dist.runtime import Runtime


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(cpu=True)


def test_predictions_are_the_evaluations_without_noise(tmp_path: Path, runtime: Runtime) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    predict_file(run, tmp_path / "data", output=tmp_path / "p.csv", runtime=runtime, split="valid")
    evaluate_runs([run], output=tmp_path / "e", runtime=runtime, rates=[0.0], split="valid")
    table = pd.read_csv(tmp_path / "p.csv")
    other = pd.read_parquet(tmp_path / "e" / "predictions.parquet")[: len(table)]
    assert list(table.columns) == ["id", "label", "prediction", "completeness"]
    assert table.id.tolist() == other.id.tolist()
    np.testing.assert_allclose(table.prediction, other.prediction, rtol=1e-6)
    np.testing.assert_allclose(table.label, other.label, rtol=1e-6)


def test_a_pickle_is_prepared_with_the_runs_tokenizer(tmp_path: Path, runtime: Runtime) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    outputs = tmp_path / "a.csv", tmp_path / "b.csv"
    for source, output in zip((tmp_path / "data", tmp_path / "data.pkl"), outputs, strict=True):
        predict_file(run, source, output=output, runtime=runtime)
    first, second = (pd.read_csv(path) for path in outputs)
    pd.testing.assert_frame_equal(first, second)
    assert len(first) == tiny_runs.SIZES["test"]


def test_an_existing_file_is_kept_unless_told(tmp_path: Path, runtime: Runtime) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    output = tmp_path / "p.csv"
    output.write_text("mine")
    with pytest.raises(UserError, match=r"exists.*--overwrite"):
        predict_file(run, tmp_path / "data", output=output, runtime=runtime)
    assert output.read_text() == "mine"
    predict_file(run, tmp_path / "data", output=output, runtime=runtime, overwrite=True)
    assert output.read_text().startswith("id,label")


def test_what_is_no_csv_is_not_written_under_a_name_that_says_otherwise(
    tmp_path: Path, runtime: Runtime
) -> None:
    with pytest.raises(UserError, match=r"p.xlsx: what is written is CSV: end its name in .csv"):
        predict_file(tmp_path, tmp_path, output=tmp_path / "p.xlsx", runtime=runtime)
    with pytest.raises(UserError, match=r"--output \.: name a file, such as predictions.csv"):
        predict_file(tmp_path, tmp_path, output=Path(), runtime=runtime, explain=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    tiny_runs.write_data(folder / "data")
    return tiny_runs.write_tiny_run(folder / "run", folder / "data")


@pytest.fixture
def content(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = pickle.loads((run.parent / "data.pkl").read_bytes())
    return loaded


@pytest.fixture(scope="module")
def whole(run: Path, runtime: Runtime) -> pd.DataFrame:
    """The predictions of the run's own test split."""
    output = run.parent / "whole.csv"
    predict_file(run, run.parent / "data", output=output, runtime=runtime)
    return pd.read_csv(output)


Predict = Callable[..., tuple[pd.DataFrame, str]]


@pytest.fixture
def predict(run: Path, tmp_path: Path, runtime: Runtime) -> Predict:
    """Predicts a pickled object; the table as it is read back, and all that was said."""

    def call(content: object, **choices: Any) -> tuple[pd.DataFrame, str]:
        source, output = tmp_path / "own.pkl", tmp_path / "own.csv"
        source.write_bytes(pickle.dumps(content))
        found = predict_file(run, source, output=output, runtime=runtime, overwrite=True, **choices)
        return pd.read_csv(output), "; ".join(found.notes)

    return call


def same(table: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Same numbers, up to the rounding of batches of another make-up."""
    assert len(table) == len(expected)
    for column in ("prediction", "completeness"):
        np.testing.assert_allclose(table[column], expected[column], rtol=1e-5)


WITHOUT = {
    "no labels": lambda split: split.pop("regression_labels"),
    "labels that are not numbers yet": lambda split: split.update(
        regression_labels=np.full(len(split["id"]), np.nan)
    ),
    "None": lambda split: split.update(regression_labels=[None] * len(split["id"])),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_without_labels_their_column_is_empty(
    name: str, content: dict[str, Any], whole: pd.DataFrame, predict: Predict
) -> None:
    WITHOUT[name](content["test"])
    table, said = predict({"test": content["test"]})
    same(table, whole)
    assert table.id.tolist() == whole.id.tolist()
    assert table.label.isna().all()
    assert not said


def test_labels_are_passed_on_whatever_they_are(
    content: dict[str, Any], whole: pd.DataFrame, predict: Predict
) -> None:
    labels = content["test"]["regression_labels"]
    labels[:2] = [np.nan, 17]
    table, said = predict(content)
    same(table, whole)
    assert table.label.isna().tolist() == [True] + [False] * 10
    assert table.label[1:].tolist() == pytest.approx(labels[1:].tolist())
    assert not said
    content["test"]["regression_labels"] = ["good"] * 11
    table, said = predict(content)
    assert table.label.isna().all()
    assert "the label column stays empty" in said
    assert "'good', not a number" in said


def rescaled_run(tmp_path: Path, run: Path, **known: object) -> Path:
    data = run.parent / "data"
    return tiny_runs.write_tiny_run(tmp_path / "rescaled", data, dataset="own", **known)


def test_labels_are_given_in_the_unit_of_the_predictions(
    tmp_path: Path, run: Path, content: dict[str, Any], whole: pd.DataFrame, runtime: Runtime
) -> None:
    own, source = rescaled_run(tmp_path, run, rescaled_from=(0, 1)), tmp_path / "own.pkl"
    content["test"]["regression_labels"] = [0, 0.5, 1, np.nan] + [0.75] * 7
    source.write_bytes(pickle.dumps(content))
    found = predict_file(own, source, output=tmp_path / "p.csv", runtime=runtime)
    same(found.table, whole)
    assert found.table.label.tolist() == pytest.approx([-3, 0, 3, np.nan] + [1.5] * 7, nan_ok=True)
    assert found.notes == ["labels are rescaled linearly from [0, 1] to [-3, 3], as for the run"]


def test_labels_of_a_unit_that_is_not_known_are_left_out(
    tmp_path: Path, run: Path, whole: pd.DataFrame, runtime: Runtime
) -> None:
    """A run of before it was noted, of a data set that may have been rescaled."""
    own = rescaled_run(tmp_path, run)
    noted = json.loads((own / "run.json").read_text())
    del noted["rescaled_from"]
    (own / "run.json").write_text(json.dumps(noted))
    source = run.parent / "data.pkl"
    found = predict_file(own, source, output=tmp_path / "p.csv", runtime=runtime)
    same(found.table, whole)
    assert found.table.label.isna().all()
    (note,) = found.notes
    assert note.startswith("the label column stays empty: ")
    assert "whether its labels were rescaled" in note


def test_the_only_split_is_taken_and_said(
    content: dict[str, Any], whole: pd.DataFrame, predict: Predict
) -> None:
    table, said = predict({"night shift": content["test"], "config": {"seed": 1}})
    same(table, whole)
    assert said == "the file has no split test: predicting 'night shift'"
    with pytest.raises(DataError, match=r"no split test: choose one with --split: a, b"):
        predict({"a": content["test"], "b": content["test"]})
    table, _ = predict({"a": content["test"], "b": content["valid"]}, split="a")
    same(table, whole)
    with pytest.raises(DataError, match=r"no split valid: choose one of test"):
        predict({"test": content["test"]}, split="dev")
    table, _ = predict({"val": content["test"], "test": content["valid"]}, split="val")
    same(table, whole)
    with pytest.raises(DataError, match=r"neither splits nor the fields audio and vision"):
        predict({"a": 1})


def test_other_splits_cannot_fail_it(
    content: dict[str, Any], whole: pd.DataFrame, predict: Predict
) -> None:
    content["train"] = content["valid"] = {"a": 1}
    same(predict(content)[0], whole)


@pytest.mark.parametrize("batched", [True, False])
def test_one_clip_without_splits(
    content: dict[str, Any], whole: pd.DataFrame, predict: Predict, batched: bool
) -> None:
    """Short of the run's places, and without the axis of samples."""
    row = 3
    frames = {}
    for m in ("audio", "vision"):
        length = content["test"][f"{m}_lengths"][row]
        frames[m] = content["test"][m][row, :length]
    text = content["test"]["raw_text"][row]
    clip: dict[str, Any] = {**frames, "raw_text": text}
    if batched:
        clip = {name: [value] for name, value in clip.items()}
    table, _ = predict(clip)
    same(table, whole[row : row + 1])
    assert table.id.tolist() == ["all-0"]


@pytest.mark.parametrize("value", [0.0, -np.inf])
def test_one_clip_padded_in_front_is_the_clip_without_padding(
    content: dict[str, Any], whole: pd.DataFrame, predict: Predict, value: float
) -> None:
    row, frames = 3, {}
    for m in ("audio", "vision"):
        length = content["test"][f"{m}_lengths"][row]
        real = content["test"][m][row, :length]
        frames[m] = np.pad(real, ((5, 0), (0, 0)), constant_values=value)
    table, said = predict({**frames, "raw_text": content["test"]["raw_text"][row]})
    same(table, whole[row : row + 1])
    assert "1 sample was padded in front" in said


def test_pooled_features_are_no_clip(content: dict[str, Any], predict: Predict) -> None:
    test = content["test"]
    for m in ("audio", "vision"):
        test[m] = test[m].mean(axis=1)
        del test[f"{m}_lengths"]
    test.pop("text_bert", None)
    with pytest.raises(DataError, match=r"expected \(places, features\); one vector a sample is"):
        predict(content)


def test_longer_clips_are_cut_and_it_is_said(content: dict[str, Any], predict: Predict) -> None:
    test = content["test"]
    test["audio"] = np.pad(test["audio"], ((0, 0), (0, 5), (0, 0)), constant_values=1)
    test["audio_lengths"] = [14] * 11
    _, said = predict(content)
    assert said == (
        "11 samples have more audio than the 9 places the run takes: their ends were cut off"
    )


def test_repairs_are_said(content: dict[str, Any], predict: Predict) -> None:
    test = content["test"]
    test["vision"] = np.full_like(test["vision"], np.nan)
    test["audio_lengths"] = [0, *test["audio_lengths"][1:]]
    test["audio"][0] = 0
    test["audio"][1, 0, :2] = np.inf, -np.inf
    test["audio"] = test["audio"].astype(np.float64)  # this loses nothing
    _, said = predict(content)
    frames = sum(test["vision_lengths"])
    assert said.split("; ") == [
        "audio: 1 sequence had no frames: one frame of zeros each",
        "audio: 1 value was -inf (or too large for float32): set to 0",
        "audio: 1 value was +inf (or too large for float32): set to 0",
        f"vision: {frames} frames were NaN throughout: taken as never there",
    ]


def test_frames_that_are_dropped_or_moved_are_said(
    content: dict[str, Any], predict: Predict
) -> None:
    test = content["test"]
    test["audio"], test["audio_lengths"] = np.ones_like(test["audio"]), [8] * 11
    _, said = predict(content, allow_cut=True)
    assert said == (
        "audio: 11 frames outside the sequence were not zero: dropped (11.1% of its frames)"
    )
    test["audio"][:, 0] = 0
    _, said = predict(content)
    assert said == "audio: 11 samples were padded in front: moved to the beginning"


def test_what_nothing_reads_is_not_demanded(
    content: dict[str, Any], whole: pd.DataFrame, predict: Predict
) -> None:
    content["test"].update(
        regression_labels_T=["?"],
        regression_labels_A=np.full((2, 2), np.nan),
        annotations=None,
        text=np.zeros((3, 3)),
        recorded=[np.datetime64("2020-02-02"), Path("x")],
        id=["same"] * 11,
    )
    table, _ = predict(content)
    same(table, whole)
    assert set(table.id) == {"same"}


def text_bert(run: Path, sentences: list[str]) -> Any:
    """As MMSA-FET writes it: [n, 3, T], float64."""
    from lnln_dist.data.tokens import load_tokenizer

    tokenizer = load_tokenizer(str(run / "encoder"))
    made = np.zeros((len(sentences), 3, 12))
    for row, sentence in enumerate(sentences):
        ids = tokenizer.encode([sentence], limit=12).ids_S
        made[row, 0, : len(ids)], made[row, 1, : len(ids)] = ids, 1
    return made


@pytest.mark.parametrize("raw_text", [None, "gone", [None] * 11, [np.nan] * 11, ["too few"]])
def test_ids_without_sentences_must_be_the_runs(
    run: Path, content: dict[str, Any], whole: pd.DataFrame, predict: Predict, raw_text: Any
) -> None:
    test = content["test"]
    test["text_bert"] = text_bert(run, test["raw_text"])
    test["raw_text"] = raw_text
    if raw_text == "gone":
        del test["raw_text"]
    table, said = predict(content)
    same(table, whole)
    assert said == "text_bert is taken for ids of the run's tokenizer: there is no raw_text"
    test["text_bert"][2, 0, 0] = 1
    with pytest.raises(DataError, match=r"sample 'test2.*first token is not \[CLS\].*as raw_text"):
        predict(content)


def test_token_ids_that_cannot_be_used_give_way_to_sentences(
    content: dict[str, Any], whole: pd.DataFrame, predict: Predict
) -> None:
    content["test"]["text_bert"] = np.zeros((3, 12))
    table, said = predict(content)
    same(table, whole)
    assert "text_bert is not used: " in said
    assert "text_bert has 3 rows, id has 11" in said


def test_ids_of_another_tokenizer_give_way_to_sentences(
    tmp_path: Path, content: dict[str, Any], whole: pd.DataFrame, runtime: Runtime, run: Path
) -> None:
    """A run that takes a file's ids for its own, as imported ones do, finds that they are not."""
    imported = tiny_runs.write_tiny_run(tmp_path / "run", run.parent / "data", origin="imported")
    content["test"]["text_bert"] = np.ones((11, 3, 12))
    (tmp_path / "own.pkl").write_bytes(pickle.dumps(content))
    output = tmp_path / "own.csv"
    found = predict_file(imported, tmp_path / "own.pkl", output=output, runtime=runtime)
    same(pd.read_csv(output), whole)
    (said,) = found.notes
    assert said.startswith("text_bert is not used: ")
    assert "the first token is not [CLS]" in said


def test_byte_strings_of_another_encoding(
    content: dict[str, Any], whole: pd.DataFrame, predict: Predict
) -> None:
    test = content["test"]
    test["raw_text"] = [f"{text} \u00e9t\u00e9".encode("latin1") for text in test["raw_text"]]
    with pytest.raises(DataError, match=r"sample 'test0.*not utf-8.*--encoding"):
        predict(content)
    table, _ = predict(content, encoding="latin1")
    assert np.isfinite(table.prediction).all()


def test_frames_outside_their_lengths(content: dict[str, Any], predict: Predict) -> None:
    test = content["test"]
    test["audio"], test["audio_lengths"] = np.ones_like(test["audio"]), [1] * 11
    with pytest.raises(DataError, match="--allow-cut"):
        predict(content)
    table, _ = predict(content, allow_cut=True)
    assert len(table) == 11


@pytest.mark.parametrize("choice", [{"allow_cut": True}, {"encoding": "gbk"}])
def test_choices_for_files_are_refused_for_prepared_data(
    tmp_path: Path, run: Path, runtime: Runtime, choice: dict[str, Any]
) -> None:
    output, data = tmp_path / "own.csv", run.parent / "data"
    with pytest.raises(UserError, match="is prepared already: --encoding and --allow-cut"):
        predict_file(run, data, output=output, runtime=runtime, **choice)


def test_a_file_without_any_text(content: dict[str, Any], predict: Predict) -> None:
    del content["test"]["raw_text"]
    with pytest.raises(DataError, match="test: no field raw_text"):
        predict(content)


def test_widths_are_compared_before_anything_is_computed(
    run: Path, content: dict[str, Any], predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    content["test"]["vision"] = content["test"]["vision"][..., :2]
    monkeypatch.setattr("lnln_dist.evaluate.single.write_shards", None)
    with pytest.raises(DataError) as caught:
        predict(content)
    assert "own.pkl: vision frames have 2 features" in str(caught.value)
    assert f"{run} was trained with 4" in str(caught.value)


def test_the_places_of_the_run_are_padded_to(
    tmp_path: Path, run: Path, content: dict[str, Any], runtime: Runtime
) -> None:
    """A model that attends to padding (``corpus``) must see as much of it as in its training."""
    padded = tiny_runs.write_tiny_run(tmp_path / "run", run.parent / "data", padding="corpus")
    test, source = content["test"], tmp_path / "short.pkl"
    longest = np.argsort(test["audio_lengths"])[:4]
    short = {m: test[m][longest][:, : max(np.take(test[f"{m}_lengths"], longest))] for m in FRAMES}
    texts = {"raw_text": np.take(test["raw_text"], longest)}
    source.write_bytes(pickle.dumps({"test": {**short, **texts}}))
    tables = [
        predict_file(padded, data, output=tmp_path / f"{i}.csv", runtime=runtime).table
        for i, data in enumerate((run.parent / "data", source))
    ]
    same(tables[1], tables[0].iloc[longest])


def test_no_such_data(tmp_path: Path, runtime: Runtime) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    with pytest.raises(UserError, match="no such folder"):
        predict_file(run, tmp_path / "none", output=tmp_path / "p.csv", runtime=runtime)
