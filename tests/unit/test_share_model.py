"""A trained model in Python: the same numbers as the verb, any subset of modalities, one folder."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_runs

import lnln_dist
from lnln_dist.config import TaskConfig
from lnln_dist.errors import CheckpointError, ConfigError, DataError, UserError
from lnln_dist.evaluate.load import weights_sha256
from lnln_dist.evaluate.single import predict_file
from lnln_dist.runtime import Runtime
from lnln_dist.share.model import Model, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("share")
    tiny_runs.write_data(folder / "data")
    return tiny_runs.write_tiny_run(folder / "run", folder / "data")


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load(run, cpu=True)


@pytest.fixture(scope="module")
def clips(run: Path) -> dict[str, Any]:
    """The test split as a user has it in memory: sentences and unpadded arrays."""
    content = pickle.loads((run.parent / "data.pkl").read_bytes())["test"]
    return {"text": content["raw_text"]} | {
        m: [x[:n] for x, n in zip(content[m], content[f"{m}_lengths"], strict=True)]
        for m in ("audio", "vision")
    }


@pytest.fixture
def exported(model: Model, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_predictions_are_the_verbs(run: Path, model: Model, clips: dict[str, Any]) -> None:
    output = run.parent / "p.csv"
    table = predict_file(run, run.parent / "data", output=output, runtime=Runtime(cpu=True)).table
    found = model.predict(**clips)
    assert list(found.columns) == ["prediction", "completeness"]
    for column in found:
        np.testing.assert_array_equal(found[column], table[column])


def test_one_sample_is_given_without_lists(model: Model, clips: dict[str, Any]) -> None:
    many = model.predict(**{m: v[:1] for m, v in clips.items()})
    frame = pd.DataFrame(clips["audio"][0])
    one = model.predict(clips["text"][0], frame, clips["vision"][0])
    pd.testing.assert_frame_equal(one, many)


def test_the_index_of_a_series_is_kept(model: Model, clips: dict[str, Any]) -> None:
    text = pd.Series(["good film", None, "bad"], index=["a", "b", "c"])
    found = model.predict(text=text, audio=clips["audio"][:3])
    assert found.index.tolist() == ["a", "b", "c"]
    assert np.isfinite(found.prediction).all()


def test_padded_arrays_are_unpadded(model: Model, clips: dict[str, Any]) -> None:
    padded = np.zeros((3, 9, 3))
    for row, clip in enumerate(clips["audio"][:3]):
        padded[row, : len(clip)] = clip
    expected = model.predict(text=clips["text"][:3], audio=clips["audio"][:3])
    pd.testing.assert_frame_equal(model.predict(text=clips["text"][:3], audio=padded), expected)


def test_a_modality_left_out_is_one_that_is_wholly_erased(
    model: Model, clips: dict[str, Any]
) -> None:
    rows = {m: v[:3] for m, v in clips.items()}
    without = model.predict(text=rows["text"], vision=rows["vision"])
    zeros = model.predict(**rows | {"audio": [np.zeros((1, 3))] * 3})
    pd.testing.assert_frame_equal(without, zeros)
    mixed = model.predict(**rows | {"audio": [rows["audio"][0], None, None]})
    whole = model.predict(**rows)
    np.testing.assert_allclose(mixed.prediction[1:], without.prediction[1:], rtol=1e-5)
    np.testing.assert_allclose(mixed.prediction[:1], whole.prediction[:1], rtol=1e-5)
    assert not np.allclose(whole.prediction, without.prediction)
    unknown = model.predict(text=["\u4f60"] * 3, vision=rows["vision"])  # one [UNK]
    silent = model.predict(vision=rows["vision"])
    np.testing.assert_array_equal(unknown.prediction, silent.prediction)


def test_what_is_too_long_is_cut_with_a_warning(model: Model) -> None:
    rng = np.random.default_rng(0)
    audio = rng.normal(size=(30, 3))
    with pytest.warns(UserWarning, match="1 of 1 samples have more audio than the 9"):
        found = model.predict(text="good", audio=audio)
    pd.testing.assert_frame_equal(found, model.predict(text="good", audio=audio[:9]))


WRONG = {
    "nothing": ({}, "nothing to predict: give text"),
    "empty": ({"text": []}, "lists are empty"),
    "counts": ({"text": ["a", "b"], "audio": [np.ones((2, 3))]}, "2 of text, 1 of audio"),
    "width": ({"audio": np.ones((2, 4))}, r"\(2, 4\), the model takes \[frames, 3\]"),
    "axes": ({"audio": [np.ones(3)]}, r"\(3,\), the model takes"),
    "no frames": ({"audio": np.ones((0, 3))}, r"\(0, 3\)"),
    "nan": ({"audio": np.full((2, 3), np.nan)}, "not finite"),
    "words": ({"audio": [[["a", "b", "c"]]]}, "no array of numbers"),
    "a number": ({"text": ["good", 7]}, "text of sample 1 is a int"),
    "no list": ({"text": 3}, "text is a int: give a sentence"),
    "a dict": ({"text": {"a": "good"}}, "text is a dict: give a sentence"),
    "a table": ({"text": np.array([["good", "bad"]])}, "text is a ndarray: give a sentence"),
    "orders": (
        {"text": pd.Series(["a", "b"]), "audio": pd.Series([np.ones((2, 3))] * 2, index=[1, 0])},
        r"text and audio are Series with different indexes: pass audio\.reindex\(text\.index\)",
    ),
    "a file": ({"vision": "clip.npy"}, "frames are a str"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line(name: str, model: Model) -> None:
    given, message = WRONG[name]
    with pytest.raises(DataError, match=message) as caught:
        model.predict(**given)
    assert "\n" not in str(caught.value)


def test_what_each_part_did(model: Model, clips: dict[str, Any]) -> None:
    rows = {m: v[:3] for m, v in clips.items()}
    records = model.explain(**rows, seconds=[2.0, 3.0, np.nan])
    whole = model.predict(**rows).prediction
    without = model.predict(**rows | {"vision": [np.zeros_like(x) for x in rows["vision"]]})
    for row, record in enumerate(records):
        assert record["prediction"] == pytest.approx(whole[row], rel=1e-5)
        effect = whole[row] - without.prediction[row]
        assert record["effect"]["vision"] == pytest.approx(effect, abs=1e-6)
        assert [t["token"] for t in record["tokens"]] == rows["text"][row].split()
        assert record["audio"][-1]["to"] == len(rows["audio"][row])
    assert records[1]["audio"][-1]["seconds"][1] == pytest.approx(3.0)
    assert "seconds" not in records[2]["audio"][0]
    (silent,) = model.explain(text="good film")
    assert list(silent["effect"]) == ["text"]
    assert silent["audio"] == silent["vision"] == []
    json.dumps(records, allow_nan=False)
    with pytest.raises(DataError, match=r"seconds has the shape \(2,\)"):
        model.explain(**rows, seconds=[1.0, 2.0])


def test_a_run_with_classes_tells_their_probabilities(
    run: Path, clips: dict[str, Any], tmp_path: Path
) -> None:
    data, task = run.parent / "data", TaskConfig(kind="three-class")
    own = tiny_runs.write_tiny_run(tmp_path / "run", data, task=task)
    model = load(own, cpu=True)
    differences = model.save_pretrained(tmp_path / "model", graphs=["model.pt2"])
    assert differences["model.pt2"] <= 1e-5
    found = load(tmp_path / "model", cpu=True).predict(**clips)
    table = predict_file(own, data, output=tmp_path / "p.csv", runtime=Runtime(cpu=True)).table
    np.testing.assert_array_equal(found, table[list(found.columns)])
    assert list(found.columns) == ["prediction", "p_-1", "p_0", "p_1", "completeness"]
    np.testing.assert_allclose(found[["p_-1", "p_0", "p_1"]].sum(axis=1), 1, rtol=1e-5)
    rows = {m: v[:2] for m, v in clips.items()}
    blind = rows | {"vision": [np.zeros_like(x) for x in rows["vision"]]}
    score = [t["p_1"] - t["p_-1"] for t in (model.predict(**rows), model.predict(**blind))]
    (record, _) = model.explain(**rows)
    assert record["effect"]["vision"] == pytest.approx(score[0][0] - score[1][0], abs=1e-6)


FRESH = """
import sys, lnln_dist, numpy as np
assert "torch" not in sys.modules
model = lnln_dist.load({folder!r})
table = model.predict(text=["good film", "very bad"], audio=[np.ones((4, 3)), None])
print(table.to_json(double_precision=15))
"""


def test_an_export_alone_predicts_in_a_fresh_process(
    exported: Path, model: Model, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(exported, elsewhere / "copy")
    done = subprocess.run(
        [sys.executable, "-c", FRESH.format(folder="copy")],
        cwd=elsewhere,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = pd.DataFrame(json.loads(done.stdout))
    expected = model.predict(text=["good film", "very bad"], audio=[np.ones((4, 3)), None])
    np.testing.assert_array_equal(found.to_numpy(np.float32), expected.to_numpy())


def test_a_model_that_sees_padding_has_no_graph(run: Path, tmp_path: Path) -> None:
    """What it says depends on how far a batch is padded, which a graph leaves to its caller."""
    own = tiny_runs.write_tiny_run(tmp_path / "run", run.parent / "data", padding="corpus")
    model = load(own, cpu=True)
    with pytest.raises(UserError, match=r"data\.padding corpus: export without --onnx"):
        model.save_pretrained(tmp_path / "model", graphs=["model.pt2"])
    assert not (tmp_path / "model").exists()
    model.save_pretrained(tmp_path / "model")


def test_an_export_of_an_export_is_the_same(exported: Path, tmp_path: Path) -> None:
    again = lnln_dist.Model.from_pretrained(exported)
    again.save_pretrained(tmp_path / "again")
    for path in [p for p in exported.rglob("*") if p.suffix not in ("", ".safetensors")]:
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(exported)).read_bytes()
    assert weights_sha256(again.run.load_best()[0]) == again.note["weights_sha256"]
    assert lnln_dist.load(tmp_path / "again").note == again.note


def test_verbs_take_an_export_for_a_run(exported: Path, run: Path, tmp_path: Path) -> None:
    runtime = Runtime(cpu=True)
    found = predict_file(exported, run.parent / "data", output=tmp_path / "e.csv", runtime=runtime)
    own = predict_file(run, run.parent / "data", output=tmp_path / "r.csv", runtime=runtime)
    pd.testing.assert_frame_equal(found.table, own.table)


def test_an_export_says_nothing_of_the_machine(exported: Path, run: Path) -> None:
    for name in ("config.json", "README.md"):
        assert str(run.parent) not in (exported / name).read_text()


def edit(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | changes))


def damage_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def other_model(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())["settings"]
    edit(folder, settings=settings | {"model": settings["model"] | {"name": "nemo"}})


def own_model(folder: Path) -> None:
    edit(folder, settings={"model": {"name": "not_at_hand:SPEC"}})


def outside(folder: Path) -> None:
    edit(folder, settings={"../../../etc/passwd": 1})


def no_tokenizer(folder: Path) -> None:
    (folder / "encoder" / "tokenizer.json").unlink()


def other_tokenizer(folder: Path) -> None:
    path = folder / "encoder" / "tokenizer.json"
    path.write_text(path.read_text().replace("dull", "lulu"))


DAMAGE = {
    damage_weights: (CheckpointError, "model.safetensors: damaged"),
    other_model: (ConfigError, "config.json: model.name: there is no model 'nemo'"),
    own_model: (ConfigError, "config.json: .*not_at_hand.*PYTHONPATH.*exported by lnln_dist"),
    outside: (ConfigError, "config.json: .*unknown key"),
    no_tokenizer: (DataError, "no tokenizer that can be read"),
    other_tokenizer: (CheckpointError, "another tokenizer"),
    lambda folder: edit(folder, run={}): (CheckpointError, "config.json: dataset"),
    lambda folder: edit(folder, run=7): (CheckpointError, "config.json"),
    lambda folder: edit(folder, settings=[1]): (CheckpointError, "not that of a model"),
    lambda folder: (folder / "config.json").write_text("{"): (CheckpointError, "copy it anew"),
    lambda folder: (folder / "config.json").write_text("[" * 100_000): (CheckpointError, "anew"),
    lambda folder: (folder / "encoder" / "config.json").unlink(): (ConfigError, "config.json"),
}


@pytest.mark.parametrize("number", range(len(DAMAGE)))
def test_a_damaged_export_is_one_line(number: int, exported: Path) -> None:
    damage, (kind, message) = list(DAMAGE.items())[number]
    damage(exported)
    with pytest.raises(kind, match=message) as caught:
        load(exported, cpu=True).predict(text="good")
    assert "\n" not in str(caught.value)


def test_code_inside_an_export_is_not_run(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(exported, settings={"model": {"name": "evil_model:SPEC"}})
    (exported / "evil_model.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(exported)
    with pytest.raises(ConfigError, match="start elsewhere"):
        load(exported, cpu=True)


def test_names_that_are_none_are_refused(run: Path, model: Model, tmp_path: Path) -> None:
    shutil.copyfile(run / "best" / "best.safetensors", run / "stray.safetensors")
    with pytest.raises(CheckpointError, match=r"no such checkpoint.*kept here: best"):
        load(run, checkpoint="../stray", cpu=True)
    with pytest.raises(UserError, match=r"graphs: onnx: choose of model\.onnx"):
        model.save_pretrained(tmp_path / "model", graphs=["onnx"])
    assert not (tmp_path / "model").exists()


def test_a_model_says_what_it_is(run: Path, model: Model) -> None:
    assert repr(model) == (f"<lnln of {run} (epoch 3, selected_on valid): mosi, labels in [-3, 3]>")


def test_an_existing_folder_is_kept(model: Model, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="exists: choose another"):
            model.save_pretrained(tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"
    model.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model"]


def test_the_package_names_what_it_loads_late() -> None:
    assert {"load", "Model"} <= set(dir(lnln_dist))
    with pytest.raises(AttributeError, match="no attribute 'loud'"):
        _ = lnln_dist.loud
