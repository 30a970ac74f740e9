"""prepare: every quirk mended and counted, every sample as it was."""

import feature_files
import numpy as np
import pytest
from feature_files import check, converted

from lnln_dist.data.convert import prepare
from lnln_dist.data.schema import SPLITS
from lnln_dist.data.verify import verify


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
    index, dataset = converted(tmp_path, content)
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


def test_aligned_files_take_lengths_from_the_mask(tmp_path):
    content = feature_files.feature_file(audio=10, vision=6)
    for name in SPLITS:
        del content[name]["audio_lengths"]
    lengths = content["train"]["text_bert"][:, 1].sum(axis=1)
    content["train"]["audio"] = np.ones_like(content["train"]["audio"])
    index, dataset = converted(tmp_path, content)
    assert dataset.split("train").lengths["audio"].tolist() == lengths.tolist()
    assert index.repairs["valid"]["audio.length_from_mask"] == 5


def test_missing_lengths_of_unaligned_files_come_from_the_zeros(tmp_path, content):
    expected = [list(content[name]["vision_lengths"]) for name in SPLITS]
    for name in SPLITS:
        del content[name]["vision_lengths"]
    content["train"]["vision"][2] = 0
    expected[0][2] = 1
    index, dataset = converted(tmp_path, content)
    assert [dataset.split(name).lengths["vision"].tolist() for name in SPLITS] == expected
    assert index.repairs["train"] == {"vision.empty": 1, "vision.length_from_zeros": 12}


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
