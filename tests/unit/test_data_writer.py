"""Shards: columns, sizes, hashes."""

import numpy as np
import pyarrow as pa
import pytest

from lnln_dist.data.writer import (
    ShardWriter,
    list_offsets,
    numbers,
    sequence,
    shard_schema,
    strings,
    vector,
)
from lnln_dist.files import sha256_file

SCHEMA = shard_schema(["label"], {"audio": 3, "vision": 2})


def columns(lengths):
    lengths = np.array(lengths)
    total = int(lengths.sum())
    values = np.arange(total, dtype=np.int32)
    frames = {m: np.ones((total, w), np.float32) for m, w in (("audio", 3), ("vision", 2))}
    kinds = {name: SCHEMA.field(name).type for name in SCHEMA.names}
    return [
        strings([str(i) for i in range(len(lengths))]),
        strings(["x"] * len(lengths)),
        vector(np.zeros(len(lengths), np.float32)),
        sequence(kinds["tokens"], values, lengths),
        sequence(kinds["segments"], values.astype(np.int8), lengths),
        *(sequence(kinds[m], frames[m], lengths) for m in ("audio", "vision")),
    ]


def test_a_sequence_column_is_a_view_of_its_values():
    values = np.arange(18, dtype=np.float32).reshape(6, 3)
    column = sequence(SCHEMA.field("audio").type, values, np.array([1, 3, 2]))
    assert column.to_pylist()[1] == values[1:4].tolist()
    inner = numbers(column.values.values, np.float32)
    assert np.array_equal(inner, np.arange(18))
    assert inner.ctypes.data == values.ctypes.data
    assert list_offsets(column).tolist() == [0, 1, 4, 6]


def test_strings_are_arrows_own():
    texts = ["", "caf\u00e9", "\u4f60\u597d", "x\0y", ""]
    column = strings(texts)
    column.validate(full=True)
    assert column.equals(pa.array(texts))
    assert strings([]).to_pylist() == []


def test_files_near_the_size_asked_for(tmp_path):
    with ShardWriter(tmp_path, "train", SCHEMA, shard_bytes=40_000) as writer:
        for _ in range(30):
            writer.write(columns([100, 100]), 2)
    assert len(writer.shards) > 3
    assert [shard.file for shard in writer.shards] == sorted(p.name for p in tmp_path.iterdir())
    assert sum(shard.rows for shard in writer.shards) == 60
    for shard in writer.shards:
        path = tmp_path / shard.file
        assert shard.bytes == path.stat().st_size
        assert shard.sha256 == sha256_file(path)
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_file(file)
            assert reader.schema.equals(SCHEMA)
            rows = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
        assert sum(rows) == shard.rows
    for shard in writer.shards[:-1]:
        assert 20_000 < shard.bytes < 50_000


def test_a_batch_larger_than_a_shard_gets_its_own(tmp_path):
    with ShardWriter(tmp_path, "test", SCHEMA, shard_bytes=10) as writer:
        writer.write(columns([5]), 1)
        writer.write(columns([5]), 1)
    assert [shard.rows for shard in writer.shards] == [1, 1]


def test_the_same_rows_make_the_same_bytes(tmp_path):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with ShardWriter(tmp_path / name, "test", SCHEMA, shard_bytes=1000) as writer:
            writer.write(columns([5, 2]), 2)
        found.append(writer.shards)
    assert found[0] == found[1]


def test_an_error_inside_closes_the_file_and_comes_through(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        ShardWriter(tmp_path, "test", SCHEMA, shard_bytes=1000) as writer,
    ):
        writer.write(columns([5]), 1)
        raise ZeroDivisionError
    assert writer.shards == []
