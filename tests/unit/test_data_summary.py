"""The import report says what was found and mended."""

import feature_files
import numpy as np

from lnln_dist.data.convert import prepare
from lnln_dist.data.summary import MEANING, describe


def test_a_clean_file(tmp_path):
    source = feature_files.write(tmp_path / "f.pkl", feature_files.feature_file())
    lines = describe(prepare(source, tmp_path / "out", dataset="mosi")).splitlines()
    assert lines[0].startswith("mosi from f.pkl (0.0 MB, sha256 ")
    assert "family mosi, labels in [-3, 3]" in lines[0]
    assert lines[1].startswith("text: ids of the file, tokenizer bert-base-uncased (30522 ids")
    assert lines[2] == "features: audio 3, vision 4 per frame"
    rows = {line.split()[0]: line.split() for line in lines[4:7]}
    assert {name: int(row[1]) for name, row in rows.items()} == feature_files.SIZES
    assert lines[7].split() == ["padded", "10", "9", "6"]
    assert lines[8].startswith("shards: 0.0 MB, ")
    assert lines[9:] == ["nothing had to be repaired", "no video is in two splits"]


def test_lengths_are_means_and_maxima(tmp_path):
    content = feature_files.feature_file()
    content["valid"]["audio_lengths"] = [1, 2, 3, 4, 5]
    content["valid"]["audio"] = np.ones((5, 9, 3), np.float32)
    source = feature_files.write(tmp_path / "f.pkl", content)
    text = describe(prepare(source, tmp_path / "out", dataset="mosi"))
    valid = next(line for line in text.splitlines() if line.startswith("valid"))
    assert "3.0 / 5" in valid


def test_repairs_and_shared_videos_are_said(tmp_path):
    content = feature_files.feature_file()
    content["train"]["audio"][0, 0] = -np.inf
    content["test"]["id"][0] = content["train"]["id"][5]
    source = feature_files.write(tmp_path / "f.pkl", content)
    index = prepare(source, tmp_path / "out", dataset="mosi", tokenizer="corpus")
    lines = describe(index).splitlines()
    assert f"repaired in train: audio: 3 {MEANING['minus_inf']}" in lines
    assert "warning: 1 videos are in both splits of train/test: scores may flatter" in lines
    assert lines[1].startswith("text: tokenised raw_text, tokenizer corpus (")


def test_every_repair_has_a_meaning():
    from pathlib import Path

    from lnln_dist.data import conversion, repair, text

    source = "".join(Path(m.__file__).read_text() for m in (conversion, repair, text))
    for kind in MEANING:
        assert kind in source
