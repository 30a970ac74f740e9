"""Feature files: fields by name, whatever wrote them; one line for each thing wrong."""

import datetime
import gzip
import hashlib

import feature_files
import numpy as np
import pandas as pd
import pytest

from lnln_dist.data.convert import prepare
from lnln_dist.data.mmsa import read_features, read_pickle
from lnln_dist.data.schema import SPLITS
from lnln_dist.errors import DataError

# Nothing that an unpickler of plain data makes.
UNREAD = datetime.date(2020, 2, 2)


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
    path = feature_files.write(tmp_path / "f.pkl", content)
    split = read_pickle(path, encoding="latin1").splits["valid"]
    assert split.ids == ["0", "1", "2", "3", "4"]
    assert split.raw_text == ["\u00e9t\u00e9", "? lone", "", "\u4f60\u597d", "x\0y"]


def test_two_splits_may_be_one_object(tmp_path, content):
    content["valid"] = content["test"]
    raw = read_pickle(feature_files.write(tmp_path / "f.pkl", content))
    assert raw.splits["valid"].ids == raw.splits["test"].ids == content["test"]["id"]
    assert np.array_equal(raw.splits["valid"].frames["audio"], content["test"]["audio"])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_what_nothing_reads_cannot_fail_the_read(tmp_path, content, protocol):
    """Dates, tables of pandas, arrays of records or of complex numbers beside the known fields."""
    records = np.zeros(3, dtype=[("a", "f4"), ("b", "O")])
    for split in SPLITS:
        content[split]["recorded"] = [UNREAD, pd.Timestamp("2020-02-02")]
        content[split]["table"] = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
        content[split]["spectrum"] = np.ones(4, np.complex64)
        content[split]["records"] = records
        content[split]["annotations"] = [records, {1: UNREAD}, {UNREAD}]
        content[split]["text"] = np.array(["2020-02-02"], "M8[D]")
    raw = read_pickle(feature_files.write(tmp_path / "f.pkl", content, protocol=protocol))
    assert np.array_equal(raw.splits["test"].frames["vision"], content["test"]["vision"])
    assert raw.splits["train"].ids == content["train"]["id"]


def test_ids_are_numbered_where_there_are_none(tmp_path, content):
    del content["valid"]["id"]
    raw = read_pickle(feature_files.write(tmp_path / "f.pkl", content))
    assert raw.splits["valid"].ids == [f"valid-{row}" for row in range(5)]


def test_a_column_of_several_labels(tmp_path, content):
    expected = {}
    for split, n in feature_files.SIZES.items():
        labels = np.arange(7 * n).reshape(n, 1, 7)
        content[split]["regression_labels"] = labels
        expected[split] = labels[:, 0, 3].tolist()
    path = feature_files.write(tmp_path / "f.pkl", content)
    raw = read_pickle(path, label_column=3)
    assert {s: v.labels["label"].tolist() for s, v in raw.splits.items()} == expected
    with pytest.raises(DataError, match="7 values per sample: no --label-column 7"):
        read_pickle(path, label_column=7)


def test_splits_under_other_names(tmp_path, content):
    content["dev"] = content.pop("valid")
    raw = read_pickle(feature_files.write(tmp_path / "f.pkl", content))
    assert raw.splits["valid"].ids == content["dev"]["id"]


def test_a_file_to_predict_needs_frames_and_text_only(tmp_path, content):
    split = {name: content["test"][name] for name in ("audio", "vision", "text_bert")}
    file = read_features(feature_files.write(tmp_path / "f.pkl", {"night": split, "config": {}}))
    assert list(file.splits) == ["night"]
    raw = file.take("night")
    assert raw.ids == [f"night-{row}" for row in range(7)]
    assert (raw.labels, raw.raw_text) == ({}, [""] * 7)
    del split["text_bert"]
    file = read_features(feature_files.write(tmp_path / "f.pkl", {"night": split}))
    with pytest.raises(DataError, match=r"night: no field raw_text \(found: audio, vision\)"):
        file.take("night")


def test_names_out_of_a_file_are_escaped(tmp_path, content):
    content["test"] = {"\x1b[31mred\n": 1}
    path = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(DataError, match=r"no field audio, vision \(found: '.x1b\[31mred.n'\)"):
        read_pickle(path)
    path.write_bytes(b"\x80\x02c\x1b[31m\nred\nq\x00.")
    with pytest.raises(DataError, match=r"would run code: '.x1b\[31m\.red'"):
        read_pickle(path)


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
        (put("test", "id", [True] * 7), "id: row 0: holds a bool: an id is a string, a number"),
        (put("test", "id", [1.5] * 7), "id '1.5' occurs more than once"),
        (put("test", "id", np.zeros((7, 2))), r"id '0\$_\$0' occurs more than once"),
        (put("test", "raw_text", [None] * 7), "raw_text: sample .* holds a NoneType"),
        (
            put("test", "raw_text", ["a", float("nan"), *"cdefg"]),
            r"raw_text: sample 'test0\$_\$1': holds a float.*write an empty string",
        ),
        (put("test", "raw_text", ["a"] * 6), "raw_text has 6 rows, id has 7"),
        (
            put("test", "regression_labels", ["1.5", "Positive", *"23-01"]),
            r"sample 'test0\$_\$1': has the label 'Positive', not a number",
        ),
        (put("test", "regression_labels", [0.5] * 6), "regression_labels has 6 rows, id has 7"),
        (put("test", "regression_labels", np.zeros((7, 7))), "7 values per sample.*--label-column"),
        (put("test", "audio", UNREAD), r"test: audio holds datetime\.date, which is refused"),
        (lambda c: c.__setitem__("train", UNREAD), r"train: holds datetime\.date, not a dict"),
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


@pytest.mark.parametrize("encoding", ["latin1", "gbk"])
def test_bytes_that_are_not_utf_8_need_their_encoding(tmp_path, content, encoding):
    word = {"latin1": "caf\u00e9", "gbk": "\u7535\u5f71"}[encoding]
    content["valid"]["raw_text"] = [b"plain"] * 2 + [word.encode(encoding)] + [b"plain"] * 2
    source = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(DataError, match=r"valid.*'valid0\$_\$2'.*--encoding") as caught:
        read_pickle(source)
    assert "bytes that are not utf-8" in str(caught.value)
    raw = read_pickle(source, encoding=encoding)
    assert raw.splits["valid"].raw_text[2] == word
    assert raw.splits["train"].raw_text == list(content["train"]["raw_text"])
    for unknown in ("klingon", "idna"):
        with pytest.raises(DataError, match=f"--encoding {unknown}"):
            read_pickle(source, encoding=unknown)


FIELDS = ("id", "raw_text", "text_bert", "audio", "vision", "audio_lengths", "regression_labels")


@pytest.mark.parametrize("field", [*FIELDS, "words", None])
@pytest.mark.parametrize("kind", [list, dict, np.ndarray])
def test_a_file_that_contains_itself_is_one_line(tmp_path, content, field, kind):
    """Whatever the place, and however the ring is closed; nothing walks it to its end."""
    ring = {list: [], dict: {}, np.ndarray: np.empty(7, dtype=object)}[kind]
    if kind is list:
        ring += [ring] * 7
    else:
        ring[0] = ring
    if field is None:
        content["test"] = ring
    else:
        content["test"][field] = ring
    if field == "words":
        del content["test"]["raw_text"]
    path = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(DataError) as caught:
        prepare(path, tmp_path / "out", dataset="mosi")
    assert "\n" not in str(caught.value)
