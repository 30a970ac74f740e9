"""prepare: everything wrong in one line, nothing half-written."""

import errno
import os
import subprocess
import sys

import feature_files
import numpy as np
import pytest
from feature_files import check, converted

from lnln_dist.data import writer
from lnln_dist.data.convert import prepare
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.verify import verify
from lnln_dist.errors import DataError, UserError


@pytest.fixture
def content():
    return feature_files.feature_file()


def test_shard_size_changes_files_not_data(tmp_path, content):
    source = feature_files.write(tmp_path / "f.pkl", content)
    prepare(source, tmp_path / "one", dataset="mosi")
    index = prepare(source, tmp_path / "many", dataset="mosi", shard_mb=0.002)
    assert len(index.splits["train"].shards) > 3
    assert verify(tmp_path / "many") == []
    check(open_dataset(tmp_path / "many"), content)
    check(open_dataset(tmp_path / "one"), content)


def test_progress_and_overlap(tmp_path, content):
    content["valid"]["id"][0] = content["train"]["id"][0]
    calls = []
    index, _ = converted(tmp_path, content, progress=lambda *call: calls.append(call))
    assert calls == [("train", 12, 12), ("valid", 5, 5), ("test", 7, 7)]
    assert index.overlap == {"train/valid": 1, "train/test": 0, "valid/test": 0}


def test_a_uri_on_both_sides(tmp_path, content):
    source = feature_files.write(tmp_path / "f.pkl", content)
    prepare(source.as_uri(), (tmp_path / "out").as_uri(), dataset="mosi")
    check(open_dataset((tmp_path / "out").as_uri()), content)


def spoil(split, field, row, value):
    def change(content):
        content[split][field] = np.asarray(content[split][field], np.float64)
        content[split][field][row] = value

    return change


@pytest.mark.parametrize(
    ("change", "choices", "message"),
    [
        (
            spoil("valid", "regression_labels", 2, np.nan),
            {},
            "sample 'valid0.*2' has the label nan",
        ),
        (spoil("test", "regression_labels", 2, 3.5), {}, r"label 3.5, outside \[-3, 3\]"),
        (spoil("test", "vision_lengths", 1, -2), {}, "sample 'test0.*1' has the length -2"),
        (spoil("test", "text_bert", (1, 0, 0), 5), {}, r"sample 'test0.*1': the first token"),
        (lambda c: c["train"].update(audio=c["train"]["audio"][1:]), {}, "audio has 11 rows"),
        (lambda c: c["train"]["id"].__setitem__(1, c["train"]["id"][0]), {}, "more than once"),
        (lambda c: c["test"].update(id=[]), {}, "the split is empty"),
        (lambda c: c["test"].update(vision=[[["x"] * 4] * 6] * 7), {}, "vision: holds <U1"),
        (
            lambda c: c["test"].update(vision=[[[0.0] * 4] * 6] * 6 + [[[0.0] * 3] * 6]),
            {},
            "vision: rows of different shapes",
        ),
        (None, {"shard_mb": 0}, "--shard-mb 0: must be above 0"),
        (None, {"shard_mb": float("nan")}, "--shard-mb nan"),
        (None, {"max_lengths": {"audio": 0}}, "--max-audio 0: must be at least 1"),
        (None, {"dataset": "mine"}, "--family"),
        (None, {"tokenizer": "/no/such/folder"}, "no such folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, content, change, choices, message):
    if change:
        change(content)
    source = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(DataError, match=message) as caught:
        prepare(source, tmp_path / "out", **{"dataset": "mosi", **choices})
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["f.pkl"]


def test_an_existing_folder(tmp_path, content):
    source = feature_files.write(tmp_path / "f.pkl", content)
    prepare(source, tmp_path / "out", dataset="mosi")
    before = open_dataset(tmp_path / "out").index
    with pytest.raises(UserError, match="exists: choose another folder"):
        prepare(source, tmp_path / "out", dataset="mosi")
    # A failing replacement leaves the old one.
    feature_files.write(source, {**content, "train": {}})
    with pytest.raises(DataError):
        prepare(source, tmp_path / "out", dataset="mosi", overwrite=True)
    assert open_dataset(tmp_path / "out").index == before
    feature_files.write(source, content)
    prepare(source, tmp_path / "out", dataset="mosi", overwrite=True, shard_mb=0.002)
    assert open_dataset(tmp_path / "out").index != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.pkl", "out"]


def test_overwriting_is_for_prepared_data_only(tmp_path, content):
    source = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(DataError, match=r"holds other things than prepared data \(f\.pkl"):
        prepare(source, tmp_path, dataset="mosi", overwrite=True)
    assert source.exists()


def test_a_remote_target(tmp_path, content):
    source = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(DataError, match="the shards must be on this machine"):
        prepare(source, "s3://bucket/out", dataset="mosi")


@pytest.mark.parametrize("when", ["write", "flush"])
def test_a_full_disk(tmp_path, content, monkeypatch, when):
    source = feature_files.write(tmp_path / "f.pkl", content)

    def fail(sink, *_):
        sink.file.close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name = {"write": "write", "flush": "close"}[when]
    monkeypatch.setattr(writer._HashedSink, name, fail)
    with pytest.raises(UserError, match="the disk is full: free some space") as caught:
        prepare(source, tmp_path / "out", dataset="mosi")
    assert str(tmp_path / "out") in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["f.pkl"]


def test_a_target_that_cannot_be_written(tmp_path, content):
    source = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(UserError, match="a part of that path is a file"):
        prepare(source, source / "out", dataset="mosi")


MEASURE = """
import sys
from lnln_dist.data.convert import prepare
def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024
before = status("VmRSS")
prepare(sys.argv[1], sys.argv[2], dataset="mosi")
print(status("VmHWM") - before)
"""


@pytest.mark.parametrize("kind", ["protocol 4", "protocol 2", "python 2"])
def test_memory_peaks_at_the_size_of_the_file(tmp_path, kind):
    """The interpreter apart; a copy of the largest field would go over the bound."""
    rng = np.random.default_rng(0)
    content = feature_files.feature_file(audio=2)
    for name, n in feature_files.SIZES.items():
        content[name]["vision"] = rng.normal(size=(n, 2000, 100))
        content[name]["vision_lengths"] = [2000] * n
    path = tmp_path / "f.pkl"
    if kind == "python 2":
        feature_files.write_python2(path, content)
    else:
        feature_files.write(path, content, protocol=int(kind[-1]))
    size = path.stat().st_size
    assert size > 35_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, path, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 1.5 * size


def test_a_killed_run_leaves_nothing_that_opens(tmp_path, content):
    """Killed outright while it writes: only a pending folder stays, and it has no index."""
    source = feature_files.write(tmp_path / "f.pkl", content)
    script = (
        "import os, signal, sys\n"
        "from lnln_dist.data.convert import prepare\n"
        "def kill(split, done, rows):\n"
        "    if split == 'valid':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "prepare(sys.argv[1], sys.argv[2], dataset='mosi', progress=kill)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, source, tmp_path / "out"], check=False)
    assert done.returncode == -9
    left = [path for path in tmp_path.iterdir() if path != source]
    assert len(left) == 1
    assert left[0].name.startswith(".pending-")
    for folder in (tmp_path / "out", left[0]):
        with pytest.raises(DataError, match="write it with lnln-dist prepare"):
            open_dataset(folder)
    prepare(source, tmp_path / "out", dataset="mosi")
    assert verify(tmp_path / "out") == []
