"""Feature files: fields by name, whatever wrote them; one line for each thing wrong."""

import gzip
import hashlib

import feature_files
import numpy as np
import pytest

from lnln_dist.data.mmsa import read_pickle
from lnln_dist.data.schema import SPLITS
from lnln_dist.errors import DataError


@pytest.fixture
def content():
    return feature_files.feature_file()


def test_fields_and_source(tmp_path, content):
    path = feature_files.write(tmp_path / "f.pkl", content)
    raw = read_pickle(path)
    assert raw.source.name == "f.pkl"
    assert raw.source.bytes == path.stat().st_size
    assert raw.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert tuple(raw.splits) == SPLITS
    for name, split in raw.splits.items():
        given = content[name]
        assert split.ids == given["id"]
        assert split.raw_text == list(given["raw_text"])
        assert np.array_equal(split.text_bert, given["text_bert"])
        assert list(split.labels) == ["label"]
        for m in ("audio", "vision"):
            assert np.array_equal(split.frames[m], given[m])
            assert split.lengths[m] == given[f"{m}_lengths"]


def test_all_labels_of_sims(tmp_path, content):
    for split in SPLITS:
        for letter in "TAV":
            content[split][f"regression_labels_{letter}"] = content[split]["regression_labels"]
    raw = read_pickle(feature_files.write(tmp_path / "f.pkl", content))
    assert list(raw.splits["test"].labels) == ["label", "label_text", "label_audio", "label_vision"]


def test_optional_fields_may_be_absent_or_none(tmp_path, content):
    for split in SPLITS:
        del content[split]["text_bert"], content[split]["audio_lengths"]
        content[split]["vision_lengths"] = None
    raw = read_pickle(feature_files.write(tmp_path / "f.pkl", content))
    assert raw.splits["train"].text_bert is None
    assert raw.splits["train"].lengths == {"audio": None, "vision": None}


def test_python2_files(tmp_path, content):
    content["train"]["raw_text"] = ["caf\u00e9"] + ["plain"] * 11
    raw = read_pickle(feature_files.write_python2(tmp_path / "f.pkl", content))
    assert raw.splits["train"].raw_text[:2] == ["caf\u00e9", "plain"]
    assert raw.splits["train"].ids == content["train"]["id"]
    assert np.array_equal(raw.splits["test"].frames["audio"], content["test"]["audio"])


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "b", "c", "d", "e"],
        ("a", "b", "c", "d", "e"),
        np.array(["a", "b", "c", "d", "e"]),
        np.array([["a"], ["b"], ["c"], ["d"], ["e"]], dtype=object),
        np.array([b"a", b"b", b"c", b"d", b"e"]),
    ],
)
def test_texts_of_every_kind(tmp_path, content, texts):
    content["valid"]["raw_text"] = content["valid"]["id"] = texts
    split = read_pickle(feature_files.write(tmp_path / "f.pkl", content)).splits["valid"]
    assert split.raw_text == split.ids == list("abcde")


def test_ids_may_be_whole_numbers_and_texts_odd(tmp_path, content):
    content["valid"]["id"] = np.arange(5)
    content["valid"]["raw_text"] = [b"\xe9t\xe9", "\ud800 lone", "", "\u4f60\u597d", "x\0y"]
    split = read_pickle(feature_files.write(tmp_path / "f.pkl", content)).splits["valid"]
    assert split.ids == ["0", "1", "2", "3", "4"]
    assert split.raw_text == ["\u00e9t\u00e9", "? lone", "", "\u4f60\u597d", "x\0y"]


def drop(split, field):
    return lambda content: content[split].pop(field)


def put(split, field, value):
    return lambda content: content[split].__setitem__(field, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("valid"), r"no split valid \(found: train, test, config\)"),
        (lambda c: c.clear(), r"no split train, valid, test \(found: nothing\)"),
        (lambda c: c.__setitem__("test", [1]), "test: holds a list, not a dict"),
        (drop("train", "audio"), "train: no field audio"),
        (drop("valid", "raw_text"), "valid: no field raw_text"),
        (drop("test", "regression_labels"), "test: no field regression_labels"),
        (put("train", "id", []), "train: the split is empty"),
        (put("train", "vision", np.zeros((11, 6, 4))), "vision has 11 rows, id has 12"),
        (put("train", "audio_lengths", [1, 2]), "audio_lengths has 2 rows, id has 12"),
        (put("test", "id", list("abcdefa")), "id 'a' occurs more than once"),
        (put("test", "id", "abcdefg"), "test: id is a str"),
        (put("test", "id", [1.5] * 7), "id holds a float, not one string per sample"),
        (put("test", "id", np.zeros((7, 2))), r"id has the shape \(7, 2\)"),
        (put("test", "raw_text", [None] * 7), "raw_text holds a NoneType"),
        (put("test", "audio", 3), "audio is a int"),
        (put("test", "audio", np.array(3.0)), "audio is a "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, content, change, message):
    change(content)
    path = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(DataError, match=message) as caught:
        read_pickle(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_other_files(tmp_path, content):
    path = tmp_path / "f.pkl"
    for data in (b"", b"some text\n", gzip.compress(b"x" * 100), bytes(1000)):
        path.write_bytes(data)
        with pytest.raises(DataError, match="not a pickle"):
            read_pickle(path)
    with pytest.raises(DataError, match="holds a list, not a dict"):
        read_pickle(feature_files.write(path, [1, 2]))
    data = feature_files.write(path, content).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="truncated"):
        read_pickle(path)


def test_a_uri_and_a_missing_file(tmp_path, content):
    path = feature_files.write(tmp_path / "f.pkl", content)
    assert read_pickle(path.as_uri()).source == read_pickle(path).source
    with pytest.raises(DataError, match="no such file"):
        read_pickle(tmp_path / "none.pkl")
