"""The index: strict, and hashed by what decides the numbers."""

import json

import pytest
from pydantic import ValidationError

from lnln_dist.data.schema import INDEX, Index, read_index, write_index
from lnln_dist.errors import DataError
from lnln_dist.vocabulary import TokenizerInfo

LENGTHS = {"text": 4, "audio": 5, "vision": 6}


def split(name, rows=3):
    shard = {"file": f"{name}-00000.arrow", "rows": rows, "bytes": 10, "sha256": "ab" * 32}
    return {"rows": rows, "max_lengths": LENGTHS, "total_lengths": LENGTHS, "shards": [shard]}


def content(**update):
    names = ("train", "valid", "test")
    return {
        "format_version": 1,
        "dataset": "mosi",
        "family": "mosi",
        "source": {"name": "f.pkl", "sha256": "cd" * 32, "bytes": 100},
        "tokenizer": {
            "name": "bert",
            "vocab_sha256": None,
            "vocab_size": 200,
            "pad_id": 0,
            "unk_id": 100,
            "cls_id": 101,
            "sep_id": 102,
        },
        "text_source": "text_bert",
        "widths": {"audio": 3, "vision": 4},
        "padded_lengths": LENGTHS,
        "label_range": [-3.0, 3.0],
        "labels": ["label"],
        "repairs": {name: {} for name in names},
        "overlap": {"train/valid": 0},
        "splits": {name: split(name) for name in names},
        **update,
    }


def index(**update) -> Index:
    return Index.model_validate_json(json.dumps(content(**update)))


def test_written_and_read_again(tmp_path):
    write_index(index(), tmp_path)
    assert read_index(tmp_path) == index()
    assert [path.name for path in tmp_path.iterdir()] == [INDEX]


@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd", "a/b.arrow", "..", ".hidden", ""])
def test_file_names_stay_inside_the_folder(name):
    broken = split("train")
    broken["shards"][0]["file"] = name
    with pytest.raises(ValidationError):
        index(splits={**content()["splits"], "train": broken})
    with pytest.raises(ValidationError):
        TokenizerInfo(**{**content()["tokenizer"], "folder": name})


@pytest.mark.parametrize(
    ("update", "named"),
    [
        ({"extra": 1}, "extra"),
        ({"format_version": 3}, "format version 3, this program reads 1 and 2"),
        ({"format_version": 2}, "format_version must be 2 if a split has gaps"),
        ({"format_version": None}, "format version None"),
        ({"widths": {"audio": 3}}, "expected audio, vision"),
        ({"widths": {"audio": 3, "vision": 0}}, "widths.vision"),
        ({"family": "iemocap"}, "family"),
        ({"label_range": [3.0, -3.0]}, "label_range"),
        ({"label_range": [-3.0, "3"]}, "label_range.1"),
        ({"labels": ["label_text"]}, "labels"),
        ({"labels": ["label", "label"]}, "labels"),
        ({"splits": {"train": split("train")}}, "expected train, valid, test"),
        ({"splits": {n: split("train") for n in ("train", "valid", "test")}}, "listed twice"),
        (
            {"splits": {**content()["splits"], "test": {**split("test"), "rows": 4}}},
            "splits.test: the shards' rows do not add up to 4",
        ),
    ],
)
def test_a_wrong_field_is_named(tmp_path, update, named):
    (tmp_path / INDEX).write_text(json.dumps(content(**update)))
    with pytest.raises(DataError) as caught:
        read_index(tmp_path)
    assert named in str(caught.value)
    assert "prepare the data again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", sorted(content()))
def test_a_missing_field_is_named(tmp_path, field):
    given = content()
    del given[field]
    (tmp_path / INDEX).write_text(json.dumps(given))
    with pytest.raises(DataError, match=field.replace("_", ".")):
        read_index(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0", "null", "[" * 100_000])
def test_not_an_index(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(DataError, match="prepare the data again"):
        read_index(tmp_path)


def test_missing_folder_or_index(tmp_path):
    with pytest.raises(DataError, match="no such folder; write it with lnln-dist prepare"):
        read_index(tmp_path / "none")
    with pytest.raises(DataError, match=r"no index\.json in it; write it with lnln-dist prepare"):
        read_index(tmp_path)


def test_an_edited_index_is_noticed(tmp_path):
    write_index(index(), tmp_path)
    path = tmp_path / INDEX
    path.write_text(path.read_text().replace('"mosi"', '"mine"', 1))
    with pytest.raises(DataError, match="changed since it was written"):
        read_index(tmp_path)


def test_the_data_hash_is_of_what_decides_the_numbers():
    base = index()
    shard = {**split("test"), "shards": [{**split("test")["shards"][0], "file": "other.arrow"}]}
    named = {**content()["tokenizer"], "name": "other", "folder": "tokenizer"}
    same = [
        {"dataset": "mine"},
        {"source": {"name": "g.pkl", "sha256": "00" * 32, "bytes": 1}},
        {"repairs": {"train": {"audio.nan": 1}}},
        {"splits": {**content()["splits"], "test": shard}},
        {"tokenizer": named},
    ]
    assert {index(**update).data_hash() for update in same} == {base.data_hash()}
    moved = {**split("test"), "shards": [{**split("test")["shards"][0], "sha256": "11" * 32}]}
    other = [
        {"family": "sims"},
        {"label_range": [-1.0, 1.0]},
        {"widths": {"audio": 4, "vision": 4}},
        {"padded_lengths": {**LENGTHS, "text": 5}},
        {"labels": ["label", "label_text"]},
        {"tokenizer": {**content()["tokenizer"], "unk_id": 1}},
        {"tokenizer": {**content()["tokenizer"], "vocab_sha256": "22" * 32}},
        {"splits": {**content()["splits"], "test": moved}},
    ]
    assert len({index(**update).data_hash() for update in other} | {base.data_hash()}) == 9
