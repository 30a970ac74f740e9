"""Reading shards: views of the file in any process, damage noticed."""

import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import feature_files
import numpy as np
import pytest

from lnln_dist.data.convert import prepare
from lnln_dist.data.shards import Split, open_dataset
from lnln_dist.errors import DataError


@pytest.fixture(scope="module")
def content():
    return feature_files.feature_file()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, content):
    """Several shards per split, several record batches per shard."""
    folder = tmp_path_factory.mktemp("data")
    source = feature_files.write(folder / "f.pkl", content)
    prepare(source, folder / "out", dataset="mosi", shard_mb=0.004)
    return folder / "out"


@pytest.fixture
def copied(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "copy")


def summary(split):
    """Everything of a split, as one hashable value."""
    rows = range(len(split))
    return (
        tuple(split.ids),
        split.labels.tobytes(),
        tuple(split.tokens(r).tobytes() + split.segments(r).tobytes() for r in rows),
        tuple(split.frames(m, r).tobytes() for m in ("audio", "vision") for r in rows),
        tuple(split.raw_text(r) for r in rows),
    )


def test_rows_in_any_order(prepared, content):
    split = open_dataset(prepared).split("train")
    assert len(split) == 12
    assert len(split._info.shards) > 1
    for row in (11, 0, 5, np.int64(7), 5):
        length = content["train"]["audio_lengths"][row]
        expected = content["train"]["audio"][row, :length]
        assert np.array_equal(split.frames("audio", row), expected)
    for row in (-1, 12):
        with pytest.raises(IndexError):
            split.frames("audio", row)


def test_accesses_are_read_only_views_of_one_mapping(prepared):
    split = open_dataset(prepared).split("train")
    for view in (split.frames("vision", 1), split.tokens(1), split.segments(1)):
        assert not view.flags.owndata
        assert not view.flags.writeable
        assert view.flags.c_contiguous
    first, second = split.frames("vision", 0), split.frames("vision", 0)
    assert first.ctypes.data == second.ctypes.data
    maps = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if str(prepared) in line
    ]
    start, stop = (
        int(part, 16)
        for line in maps
        if "train-00000" in line
        for part in line.split()[0].split("-")
    )
    assert start <= first.ctypes.data < stop


def test_types(prepared):
    split = open_dataset(prepared).split("test")
    assert split.labels.dtype == np.float32
    assert split.lengths["text"].dtype == np.int64
    assert (split.tokens(0).dtype, split.segments(0).dtype) == (np.int32, np.int8)
    assert split.frames("audio", 0).dtype == np.float32
    assert split.labels is split.labels


def test_a_pickled_split_is_small_and_reads_the_same(prepared):
    split = open_dataset(prepared).split("train")
    unread = len(pickle.dumps(split))
    before = summary(split), split.lengths
    data = pickle.dumps(split)
    assert len(data) == unread < 5000
    again = pickle.loads(data)
    assert again.name == "train"
    assert summary(again) == before[0]


def _send(split, queue):
    queue.put(summary(split))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(prepared, method):
    split = open_dataset(prepared).split("valid")
    before = summary(split)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_send, args=(split, queue))
    worker.start()
    assert queue.get(timeout=60) == before
    worker.join(timeout=60)
    assert worker.exitcode == 0


def test_one_split_object_and_no_others(prepared):
    dataset = open_dataset(str(prepared))
    assert dataset.split("train") is dataset.split("train")
    with pytest.raises(DataError, match="no split 'dev'; choose one of train, valid, test"):
        dataset.split("dev")
    assert dataset.tokenizer_folder is None


def test_what_cannot_be_opened(prepared, tmp_path):
    with pytest.raises(DataError, match=r"nosuch://bucket/data: cannot be opened"):
        open_dataset("nosuch://bucket/data")
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "none")
    with pytest.raises(DataError, match="no index"):
        open_dataset(tmp_path)


def test_a_cut_longer_or_missing_shard_is_named(copied):
    shard = copied / "train-00001.arrow"
    data = shard.read_bytes()
    for wrong in (data[:-1], data + b"\0", b""):
        shard.write_bytes(wrong)
        with pytest.raises(DataError, match=r"train-00001\.arrow: .* run lnln-dist verify"):
            open_dataset(copied)
    shard.unlink()
    with pytest.raises(DataError, match=r"train-00001\.arrow: the shard is missing"):
        open_dataset(copied)


def test_a_link_out_of_the_folder_is_refused(copied, tmp_path):
    shard = copied / "test-00000.arrow"
    shard.rename(tmp_path / "elsewhere.arrow")
    shard.symlink_to(tmp_path / "elsewhere.arrow")
    with pytest.raises(DataError, match="a link to outside its folder"):
        open_dataset(copied)


def test_a_linked_folder_is_fine(prepared, tmp_path):
    (tmp_path / "link").symlink_to(prepared)
    assert len(open_dataset(tmp_path / "link").split("train")) == 12


def test_shards_of_another_place_are_noticed(copied):
    dataset = open_dataset(copied)
    valid = (copied / "valid-00000.arrow").read_bytes()
    (copied / "train-00000.arrow").write_bytes(valid)
    with pytest.raises(DataError, match="rows, the index says"):
        len(dataset.split("train").labels)
    index = dataset.index.model_copy(update={"widths": {"audio": 5, "vision": 4}})
    with pytest.raises(DataError, match="other columns than the index says"):
        Split(copied, "valid", index).frames("audio", 0)


def test_flipped_bits_raise_or_pass_but_never_crash(copied):
    """The cheap checks at opening may miss damage (verify does not), but must survive it."""
    dataset = open_dataset(copied)
    shard = copied / "train-00000.arrow"
    data = shard.read_bytes()
    rng, failures = random.Random(0), 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        shard.write_bytes(damaged)
        try:
            summary(Split(copied, "train", dataset.index))
        except DataError as err:
            assert "verify" in str(err)
            failures += 1
    assert failures > 40


MEASURE = """
import sys
from pathlib import Path
from lnln_dist.data.shards import open_dataset
def private():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024
before = private()
split = open_dataset(sys.argv[1]).split("train")
total = sum(float(split.frames("vision", row).sum()) for row in range(len(split)))
split.ids, split.labels, split.lengths
print(private() - before, "pandas" in sys.modules)
"""


def test_reading_everything_takes_no_private_memory(tmp_path):
    content = feature_files.feature_file()
    rng = np.random.default_rng(0)
    for name, n in feature_files.SIZES.items():
        content[name]["vision"] = rng.normal(size=(n, 4000, 200)).astype(np.float32)
        content[name]["vision_lengths"] = [4000] * n
    source = feature_files.write(tmp_path / "f.pkl", content)
    index = prepare(source, tmp_path / "out", dataset="mosi")
    assert sum(shard.bytes for shard in index.splits["train"].shards) > 38_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    private, pandas = done.stdout.split()
    assert int(private) < 10_000_000
    assert pandas == "False"
