"""verify: any damage is found, and the damaged file named."""

import shutil

import feature_files
import numpy as np
import pyarrow as pa
import pytest

from lnln_dist.data.convert import prepare
from lnln_dist.data.schema import INDEX, ShardInfo, write_index
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.verify import verify
from lnln_dist.errors import DataError
from lnln_dist.files import sha256_file


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    source = feature_files.write(folder / "f.pkl", feature_files.feature_file())
    prepare(source, folder / "out", dataset="mosi", shard_mb=0.004, tokenizer="corpus")
    return folder / "out"


@pytest.fixture
def copied(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "copy")


def only(findings):
    (finding,) = findings
    assert "\n" not in str(finding)
    return finding


def test_sound_data(prepared):
    assert verify(prepared) == []
    assert verify(prepared.as_uri()) == []


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_flipped_bit_names_the_shard(copied, place):
    shard = copied / "train-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[int(place * len(data))] ^= 4
    shard.write_bytes(data)
    finding = only(verify(copied))
    assert finding.file == "train-00001.arrow"
    assert "SHA-256 differs" in finding.problem
    assert "prepare the data again" in finding.problem


def test_several_damaged_files_are_all_named(copied):
    shard = copied / "test-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-10])
    (copied / "valid-00000.arrow").unlink()
    (copied / "tokenizer" / "tokenizer.json").write_text("{}")
    (copied / "tokenizer" / "tokenizer_config.json").unlink()
    found = {finding.file: finding.problem for finding in verify(copied)}
    assert set(found) == {
        "test-00000.arrow",
        "valid-00000.arrow",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
    }
    assert "cut short" in found["test-00000.arrow"]
    assert "missing" in found["valid-00000.arrow"]


def test_a_damaged_index_is_named(copied):
    path = copied / INDEX
    path.write_text(path.read_text().replace('"mosi"', '"mine"', 1))
    assert only(verify(copied)).file == INDEX
    path.write_text("{")
    assert only(verify(copied)).file == INDEX


def test_no_data_at_all(tmp_path):
    with pytest.raises(DataError, match="no index"):
        verify(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        verify(tmp_path / "none")
    with pytest.raises(DataError, match="cannot be opened"):
        verify("nosuch://bucket/data")


def forge(folder, column, change):
    """Rewrites the first test shard with a changed column, and the index to match its bytes."""
    index = open_index(folder)
    path = folder / "test-00000.arrow"
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        table = reader.read_all().to_pylist()
        schema = reader.schema
    for row in table:
        row[column] = change(row[column])
    path.unlink()
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(table, schema=schema))
    info = index.splits["test"]
    shard = ShardInfo(
        file=path.name, rows=len(table), bytes=path.stat().st_size, sha256=sha256_file(path)
    )
    info = info.model_copy(update={"shards": (shard, *info.shards[1:])})
    splits = {**index.splits, "test": info}
    write_index(index.model_copy(update={"splits": splits}), folder)


def open_index(folder):
    return open_dataset(folder).index


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("label", lambda v: 9.0, r"label holds values outside \[-3, 3\]"),
        ("label", lambda v: float("nan"), r"label holds values outside"),
        ("audio", lambda v: [[np.nan] * 3, *v[1:]], "audio holds values that are not finite"),
        ("vision", lambda v: [[-np.inf] * 4, *v[1:]], "vision holds values that are not finite"),
        ("tokens", lambda v: [-1, *v[1:]], "token ids outside"),
        ("tokens", lambda v: [10_000, *v[1:]], "token ids outside"),
        ("segments", lambda v: v[1:], "segments and tokens differ"),
        ("audio", lambda v: [], "audio has lengths outside 1 to 9"),
        ("audio", lambda v: v * 20, "audio has lengths outside 1 to 9"),
        ("id", lambda v: "same", "more than once"),
    ],
)
def test_content_that_prepare_would_not_write(copied, column, change, message):
    forge(copied, column, change)
    finding = next(iter(verify(copied)))
    assert finding.file == "test-00000.arrow"
    assert message.split(r"\[")[0].rstrip() in finding.problem


def test_sums_that_the_index_has_wrong(copied):
    index = open_index(copied)
    info = index.splits["valid"]
    wrong = info.model_copy(update={"total_lengths": {**info.total_lengths, "audio": 1}})
    write_index(index.model_copy(update={"splits": {**index.splits, "valid": wrong}}), copied)
    assert only(verify(copied)).problem == "the lengths of valid are not those of its shards"


def test_another_width_in_the_index(copied):
    index = open_index(copied)
    write_index(index.model_copy(update={"widths": {"audio": 3, "vision": 5}}), copied)
    findings = verify(copied)
    assert len(findings) == sum(len(split.shards) for split in index.splits.values())
    assert all("other columns than the index says" in f.problem for f in findings)


@pytest.fixture(scope="module")
def with_gaps(tmp_path_factory):
    content = feature_files.feature_file()
    test = content["test"]
    test["audio"], test["audio_lengths"] = np.ones((7, 9, 3), np.float32), [9] * 7
    test["audio"][:, 4] = 0
    test["text_bert"][0, 0, 3:5] = 100
    index, dataset = feature_files.converted(tmp_path_factory.mktemp("gaps"), content)
    assert index.splits["test"].seen == ("text", "audio")
    return dataset.folder


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("seen_audio", lambda v: [2, *v[1:]], "seen_audio holds other values than 0 and 1"),
        ("seen_audio", lambda v: [0, *v[1:]], "audio holds something where nothing was"),
        ("seen_audio", lambda v: v[1:], "seen_audio and audio differ in length"),
        ("seen_text", lambda v: [0, *v[1:]], "the ends of a text, [CLS] and [SEP]"),
        ("seen_text", lambda v: [v[0], *[0] * (len(v) - 2), v[-1]], "text holds something"),
    ],
)
def test_masks_that_contradict_the_data_are_named(with_gaps, tmp_path, column, change, message):
    copy = shutil.copytree(with_gaps, tmp_path / "copy")
    forge(copy, column, change)
    assert message in only(verify(copy)).problem
    if "length" in message:
        with pytest.raises(DataError, match="seen_audio and audio differ in length"):
            open_dataset(copy).split("test").seen("audio", 0)
