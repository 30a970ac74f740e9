"""prepare: every sample as it was, every quirk mended and counted, everything wrong in one line."""

import errno
import os
import subprocess
import sys

import feature_files
import numpy as np
import pytest
from feature_files import check, converted

from lnln_dist.data import writer
from lnln_dist.data.convert import find_layout, prepare, shared_videos
from lnln_dist.data.mmsa import read_pickle
from lnln_dist.data.schema import SPLITS
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.verify import verify
from lnln_dist.errors import DataError, UserError
from lnln_dist.files import alone


@pytest.fixture
def content():
    return feature_files.feature_file()


def test_a_sound_file(tmp_path, content):
    index, dataset = converted(tmp_path, content)
    check(dataset, content)
    assert index == dataset.index
    assert index.repairs == {name: {} for name in SPLITS}
    assert index.padded_lengths == {"text": 10, "audio": 9, "vision": 6}
    assert index.widths == {"audio": 3, "vision": 4}
    assert index.text_source == "text_bert"
    for name in SPLITS:
        info, split = index.splits[name], dataset.split(name)
        assert info.max_lengths == {m: n.max() for m, n in split.lengths.items()}
        assert info.total_lengths == {m: n.sum() for m, n in split.lengths.items()}


def test_other_types_are_the_same_data(tmp_path, content):
    plain, _ = converted(tmp_path, content)
    for name in SPLITS:
        split = content[name]
        split["audio"] = split["audio"].astype(">f4").tolist()
        split["vision"] = np.asfortranarray(split["vision"])
        split["text_bert"] = split["text_bert"].astype(np.int64)
        split["audio_lengths"] = np.array(split["audio_lengths"], np.float32)
        split["regression_labels"] = split["regression_labels"].tolist()
        split["raw_text"] = split["raw_text"].tolist()
    source = feature_files.write_python2(tmp_path / "old.pkl", content)
    index = prepare(source, tmp_path / "old", dataset="mosi")
    assert index.repairs["train"] == {"audio.float64": 12}
    assert index.data_hash() == plain.data_hash()


def test_quirks_are_mended_and_counted(tmp_path, content):
    train = content["train"]
    train["audio"] = train["audio"].astype(np.float64)
    train["audio_lengths"][:4] = [9, 5, 30, 0]
    train["audio"][:4] = 1
    train["audio"][1, 5:] = 0
    train["audio"][0, 0] = [np.nan, np.inf, -np.inf]
    train["audio"][0, 1] = [1e39, -1e39, 2]
    train["audio"][3] = 0
    train["vision_lengths"] = [1] * 12
    train["vision"] = np.zeros((12, 6, 4), np.float32)
    train["vision"][5, 3:5] = 1
    index, dataset = converted(tmp_path, content, allow_cut=True)
    assert index.repairs["train"] == {
        "audio.empty": 1,
        "audio.float64": 12,
        "audio.minus_inf": 2,
        "audio.nan": 1,
        "audio.over_padding": 1,
        "audio.plus_inf": 2,
        "vision.beyond_length": 2,
    }
    assert index.repairs["test"] == {}
    split = dataset.split("train")
    assert split.lengths["audio"][:4].tolist() == [9, 5, 9, 1]
    assert split.frames("audio", 0)[:3].tolist() == [[0, 0, 0], [0, 0, 2], [1, 1, 1]]
    assert split.frames("audio", 3).tolist() == [[0, 0, 0]]


def test_limits(tmp_path, content):
    index, dataset = converted(tmp_path, content, max_lengths={"text": 4, "audio": 3})
    assert index.padded_lengths == {"text": 4, "audio": 3, "vision": 6}
    split = dataset.split("train")
    lengths = content["train"]["audio_lengths"]
    assert split.lengths["audio"].tolist() == [min(n, 3) for n in lengths]
    assert index.repairs["train"]["audio.cut"] == sum(n > 3 for n in lengths)
    words = content["train"]["text_bert"][:, 1].sum(axis=1)
    assert index.repairs["train"]["text.cut"] == (words > 4).sum() > 0
    assert split.tokens(0).tolist()[-1] == feature_files.SEP
    assert len(split.tokens(0)) == 4


def test_frames_are_cut_by_the_lengths_of_the_training_split(tmp_path, content):
    index, dataset = converted(tmp_path, content, cut_sd=0.5, max_lengths={"vision": 2})
    length_N = np.clip(content["train"]["audio_lengths"], 1, 9)
    limit = int(np.ceil(length_N.mean() + 0.5 * length_N.std()))
    assert 1 < limit < 9
    assert index.padded_lengths == {"text": 10, "audio": limit, "vision": 2}
    for split in SPLITS:
        assert dataset.split(split).lengths["audio"].max() <= limit


def test_sims_keeps_all_labels(tmp_path, content):
    for name in SPLITS:
        labels = content[name]["regression_labels"]
        for letter, sign in zip("TAV", (-1, 0.5, 0), strict=True):
            content[name][f"regression_labels_{letter}"] = labels * sign
    index, dataset = converted(tmp_path, content, dataset="sims")
    assert index.labels == ("label", "label_text", "label_audio", "label_vision")
    split, labels = dataset.split("test"), content["test"]["regression_labels"]
    assert np.array_equal(split.label("label_text"), -labels)
    assert np.array_equal(split.label("label_audio"), labels * np.float32(0.5))


def test_an_own_set_with_a_corpus_vocabulary(tmp_path):
    content = feature_files.feature_file(widths=(7, 1), audio=20, vision=1)
    for name in SPLITS:
        del content[name]["text_bert"]
        content[name]["regression_labels"] = content[name]["regression_labels"] * 5
    index, dataset = converted(
        tmp_path, content, dataset="mine", family="sims", label_range=(-5, 5), tokenizer="corpus"
    )
    assert (index.dataset, index.family, index.label_range) == ("mine", "sims", (-5, 5))
    assert index.widths == {"audio": 7, "vision": 1}
    assert index.padded_lengths == {"text": 50, "audio": 20, "vision": 1}
    assert index.tokenizer.name == "corpus"
    assert dataset.tokenizer_folder == tmp_path / "out" / "tokenizer"
    tokens = dataset.split("train").tokens(0)
    assert (tokens[0], tokens[-1], len(tokens)) == (2, 3, 7)


def test_the_reference_file(tmp_path, shared):
    folder = shared / "parity"
    index = prepare(
        folder / "official_evaluation" / "mosi_small.pkl",
        tmp_path / "out",
        dataset="mosi",
        tokenizer=str(folder / "official_checkpoint" / "bert"),
        text_source="text_bert",
    )
    assert {name: info.rows for name, info in index.splits.items()} == {
        "train": 48,
        "valid": 24,
        "test": 90,
    }
    assert index.padded_lengths == {"text": 12, "audio": 24, "vision": 30}
    assert index.repairs == {name: {"audio.minus_inf": 1} for name in SPLITS}
    assert index.tokenizer.vocab_size == 160
    assert verify(tmp_path / "out") == []


def test_real_mosi(tmp_path, shared):
    source = shared / "data" / "mosi_real" / "mosi_full.pkl"
    index = prepare(source, tmp_path / "out", dataset="mosi", shard_mb=1)
    assert [index.splits[name].rows for name in SPLITS] == [1284, 229, 686]
    assert index.repairs == {name: {} for name in SPLITS}
    assert set(index.overlap.values()) == {0}
    sizes = [shard.bytes for shard in index.splits["train"].shards]
    assert all(500_000 < size < 1_100_000 for size in sizes[:-1])
    assert verify(tmp_path / "out") == []


def layout(tmp_path, content, limits=None):
    raw = read_pickle(feature_files.write(tmp_path / "f.pkl", content))
    return find_layout(raw, limits or {}, name="f.pkl")


def test_widths_lengths_and_limits(tmp_path):
    content = feature_files.feature_file()
    content["test"]["audio"] = np.pad(content["test"]["audio"], ((0, 0), (0, 2), (0, 0)))
    found = layout(tmp_path, content)
    assert found.widths == {"audio": 3, "vision": 4}
    assert found.lengths == {"audio": 11, "vision": 6}
    assert found.labels == ("label",)
    assert layout(tmp_path, content, {"audio": 4, "vision": 99}).lengths == {
        "audio": 4,
        "vision": 6,
    }


def test_nested_lists(tmp_path):
    content = feature_files.feature_file()
    for split in feature_files.SIZES:
        content[split]["audio"] = content[split]["audio"].tolist()
    assert layout(tmp_path, content).widths["audio"] == 3


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "vision",
            np.zeros((7, 6, 5)),
            "vision frames differ .*: 4 in train, 4 in valid, 5 in test",
        ),
        ("audio", np.zeros((7, 3)), r"audio has samples of the shape \(3,\)"),
        ("audio", np.zeros((7, 9, 0)), r"audio has samples of the shape \(9, 0\)"),
        ("audio", np.zeros((7, 0, 3)), r"audio has samples of the shape \(0, 3\)"),
        ("audio", [[[1.0], [1.0, 2.0]]] * 7, "rows of different lengths"),
        ("regression_labels_T", np.zeros(7), "regression_labels_T is in test only"),
    ],
)
def test_splits_that_do_not_fit(tmp_path, field, value, message):
    content = feature_files.feature_file()
    content["test"][field] = value
    with pytest.raises(DataError, match=message):
        layout(tmp_path, content)


def test_shared_videos():
    ids = {"train": ["a$_$1", "a$_$2", "b$_$1"], "valid": ["a$_$3", "c"], "test": ["c", "b$_$9"]}
    overlap, check = shared_videos(ids, None, name="f.pkl")
    assert overlap == {"train/valid": 1, "train/test": 1, "valid/test": 0}
    assert check.understood == 5


@pytest.mark.parametrize("ids", [["0", "1", "2"], ["0.5", "1.5"], ["clip_0", "clip_1"], ["-1"]])
def test_ids_that_are_not_understood_are_no_videos(ids):
    """Rows counted anew in every split: neither shared nor known to be apart."""
    ids = dict.fromkeys(SPLITS, ids)
    overlap, check = shared_videos(ids, None, name="f.pkl")
    assert set(overlap.values()) == {0}
    assert check.understood == 0


def test_videos_by_a_pattern_of_ones_own(tmp_path, content):
    for name in SPLITS:
        content[name]["id"] = [f"{name}{i // 3}_clip_{i}" for i in range(len(content[name]["id"]))]
    content["valid"]["id"][0] = "train0_clip_99"
    index, _ = converted(tmp_path, content, group_by=r"(.+)_clip_\d+")
    assert index.overlap == {"train/valid": 1, "train/test": 0, "valid/test": 0}
    assert index.videos.understood == 24
    for pattern, message in (
        ("(", "not a regular expression"),
        (".+", "has 0 groups; one is needed"),
        ("(a)?.*", "train: --group-by .* does not fit the id 'train0_clip_0'"),
        ("(test.*)", "train: --group-by .* does not fit the id 'train0_clip_0'"),
    ):
        with pytest.raises(DataError, match=message):
            prepare(tmp_path / "f.pkl", tmp_path / "no", dataset="mosi", group_by=pattern)


def test_labels_on_request(tmp_path, content):
    """Clipped, counted, then mapped onto the family's range."""
    for name in SPLITS:
        content[name]["regression_labels"] = np.linspace(0, 1, len(content[name]["id"]))
    content["test"]["regression_labels"][2] = 1.25
    own = {"dataset": "mine", "family": "mosi", "label_range": (0, 1), "tokenizer": "corpus"}
    with pytest.raises(DataError, match=r"label 1.25, outside \[0, 1\].*--clip-labels"):
        converted(tmp_path, content, **own)
    index, dataset = converted(tmp_path, content, **own, clip_labels=True, rescale_labels=True)
    assert index.repairs["test"] == {"label.clipped": 1}
    assert (index.label_range, index.rescaled_from) == ((-3, 3), (0, 1))
    expected = 6 * np.clip(content["test"]["regression_labels"], 0, 1) - 3
    assert np.allclose(dataset.split("test").labels, expected, atol=1e-6)


def test_a_set_with_its_familys_labels_has_nothing_to_rescale(tmp_path, content):
    with pytest.raises(DataError, match="--rescale-labels: mosi has the labels of its family"):
        converted(tmp_path, content, rescale_labels=True)


def test_rescaling_never_turns_a_sign(tmp_path, content):
    own = {"dataset": "own", "family": "mosi", "tokenizer": "corpus", "rescale_labels": True}
    with pytest.raises(DataError, match=r"from -3 to 4 has its middle beside 0.*symmetric"):
        converted(tmp_path, content, label_range=(-3.0, 4.0), **own)
    index, _ = converted(tmp_path, content, label_range=(-6.0, 6.0), **own)
    assert index.label_range == (-3.0, 3.0)


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
        (spoil("train", "regression_labels", 2, 1e308), {}, r"label 1e\+308, outside"),
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


@pytest.mark.parametrize("target", [".", "..", "/"])
def test_a_target_without_a_name(tmp_path, content, target, monkeypatch):
    source = feature_files.write(tmp_path / "f.pkl", content)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(DataError, match="give the name of a folder to write"):
        prepare(source, target, dataset="mosi", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "f.pkl"]


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


KILLED = """
import os, signal, sys
from pathlib import Path
from lnln_dist import files
from lnln_dist.data import convert
source, target, moment = sys.argv[1:]
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def kill_at(split, done, rows):
    if split == moment:
        kill()
rename = Path.rename
def renamed(self, to):
    here = target in (str(self), str(to))
    if here and moment == "renaming":
        kill()
    rename(self, to)
    if here and (moment == "between" or (moment == "after" and str(to) == target)):
        kill()
Path.rename = renamed
if moment == "reading":
    convert.read_pickle = kill
if moment == "the index":
    convert.write_index = kill
if moment == "flushing":
    files.sync_tree = kill
convert.prepare(source, target, dataset="mosi", overwrite=True, progress=kill_at, shard_mb=0.002)
"""
MOMENTS = ("reading", "train", "test", "the index", "flushing", "renaming", "between", "after")


@pytest.mark.parametrize(
    ("moment", "there"),
    [*((moment, True) for moment in MOMENTS), ("train", False), ("renaming", False)],
)
def test_a_killed_run_harms_nothing_and_the_next_one_cleans_up(tmp_path, content, moment, there):
    """Killed outright: the target is absent, as it was before, or whole and new."""
    source, target = feature_files.write(tmp_path / "f.pkl", content), tmp_path / "out"
    before = prepare(source, target, dataset="mosi") if there else None
    arguments = [sys.executable, "-c", KILLED, source, target, moment]
    assert subprocess.run(arguments, check=False).returncode == -9
    if target.exists():
        assert verify(target) == []
        new = open_dataset(target).index != before
        assert new == (moment in ("after", "between"))
    else:
        assert before is None or moment == "between"
    for left in tmp_path.glob(".pending-*/index.json"):
        assert left.parent.name.endswith("-old") or moment not in ("reading", "train", "test")
    # What was moved aside for data that never came is put back, not lost.
    if there:
        with pytest.raises(UserError, match="out exists"):
            prepare(source, target, dataset="mosi")
        assert verify(target) == []
    index = prepare(source, target, dataset="mosi", overwrite=True)
    assert index == (before or index) == open_dataset(target).index
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.pkl", "out"]


def test_what_others_are_writing_is_left_alone(tmp_path, content):
    source = feature_files.write(tmp_path / "f.pkl", content)
    other = tmp_path / ".pending-out-2-12-0123abcd"  # of the target out-2
    other.mkdir()
    with alone(tmp_path / "out"), pytest.raises(UserError, match="out is being written by another"):
        prepare(source, tmp_path / "out", dataset="mosi")
    prepare(source, tmp_path / "out", dataset="mosi")
    assert other.exists()
