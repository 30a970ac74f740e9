"""The import report says what was found and mended."""

import re

import feature_files
import numpy as np
import pytest

from lnln_dist.data.convert import prepare
from lnln_dist.data.schema import LabelScale
from lnln_dist.data.summary import MEANING, describe, label_shift


def test_a_clean_file(tmp_path):
    source = feature_files.write(tmp_path / "f.pkl", feature_files.feature_file())
    index = prepare(source, tmp_path / "out", dataset="mosi")
    lines = describe(index).splitlines()
    assert lines[0].startswith("mosi from f.pkl (0.0 MB, sha256 ")
    assert "family mosi, labels in [-3, 3]" in lines[0]
    assert lines[1].startswith("text: ids of the file, tokenizer bert-base-uncased (30522 ids")
    assert lines[2] == "features: audio 3, vision 4 per frame"
    rows = {line.split()[0]: line.split() for line in lines[4:7]}
    assert {name: int(row[1]) for name, row in rows.items()} == feature_files.SIZES
    assert lines[7].split() == ["padded", "10", "9", "6"]
    assert re.fullmatch(r"shards: 0\.0 MB, \d.* of the source", lines[8])
    extracted = index.model_copy(update={"extraction": {"audio": {}}})
    assert describe(extracted).splitlines()[8] == "shards: 0.0 MB"  # its source is a table
    assert re.fullmatch(r"labels: mean \S+ \(sd \S+\) in train, .* in valid, .* in test", lines[9])
    assert lines[10] == "nothing had to be repaired"
    for line, m in zip(lines[11:13], ("audio", "vision"), strict=True):
        assert re.fullmatch(
            rf"{m}: largest magnitude .* \(column \d\), 0.0% of the frames .*", line
        )
    assert lines[13:] == ["no video is in two splits (id: VIDEO$_$CLIP)"]


def test_lengths_are_means_and_maxima(tmp_path):
    content = feature_files.feature_file()
    content["valid"]["audio_lengths"] = [1, 2, 3, 4, 5]
    content["valid"]["audio"] = np.ones((5, 9, 3), np.float32)
    source = feature_files.write(tmp_path / "f.pkl", content)
    text = describe(prepare(source, tmp_path / "out", dataset="mosi", allow_cut=True))
    valid = next(line for line in text.splitlines() if line.startswith("valid"))
    assert "3.0 / 5" in valid


def test_repairs_and_shared_videos_are_said(tmp_path):
    content = feature_files.feature_file()
    content["train"]["audio"][0, 0] = -np.inf
    content["test"]["id"][0] = content["train"]["id"][5]
    content["valid"]["id"][:2] = [f"{content['train']['id'][i]}x" for i in (0, 3)]
    source = feature_files.write(tmp_path / "f.pkl", content)
    index = prepare(source, tmp_path / "out", dataset="mosi", tokenizer="corpus")
    lines = describe(index).splitlines()
    assert f"repaired in train: audio: 3 {MEANING['minus_inf']}" in lines
    assert "warning: 1 video is in both splits of train/test: scores may flatter" in lines
    same = content["train"]["id"][5]
    assert f"warning: the same clip is in both splits of train/test: {same!r}" in lines
    assert not any("the same clip" in line and "valid" in line for line in lines)
    assert "warning: 2 videos are in both splits of train/valid: scores may flatter" in lines
    assert lines[1].startswith("text: tokenised raw_text, tokenizer corpus (")


def test_every_repair_has_a_meaning():
    from pathlib import Path

    from lnln_dist.data import convert, lengths, repair, text

    source = "".join(Path(m.__file__).read_text() for m in (convert, lengths, repair, text))
    for kind in MEANING:
        assert kind in source


def test_one_of_something_is_said_in_the_singular(tmp_path):
    content = feature_files.feature_file()
    content["train"]["audio"][2, 0, 0] = np.nan
    content["test"]["text_bert"][0, 0, 9] = 1500
    _, lines = report(tmp_path, content)
    assert "repaired in train: audio: 1 value was NaN: set to 0" in lines
    assert (
        "repaired in test: text: 1 sentence does not end with [SEP]: nothing was changed" in lines
    )


def test_a_file_in_float64_is_clean(tmp_path):
    content = feature_files.feature_file()
    for split in feature_files.SIZES:
        content[split]["audio"] = np.asarray(content[split]["audio"], np.float64)
    _, lines = report(tmp_path, content)
    assert "nothing had to be repaired" in lines
    assert lines[2] == "features: audio 3 (float64, stored as float32), vision 4 per frame"


def report(tmp_path, content, **choices):
    source = feature_files.write(tmp_path / "f.pkl", content)
    index = prepare(source, tmp_path / "out", **{"dataset": "mosi", **choices})
    return index, describe(index).splitlines()


def test_ids_that_name_no_video_are_not_vouched_for(tmp_path):
    content = feature_files.feature_file()
    for name in feature_files.SIZES:
        content[name]["id"] = list(range(len(content[name]["id"])))
    _, lines = report(tmp_path, content)
    assert not any("no video" in line or "both splits" in line for line in lines)
    assert lines[-1].startswith("warning: 24 of 24 ids do not name their video")
    assert "--group-by" in lines[-1]


def test_features_that_trouble_a_training_are_named(tmp_path):
    content = feature_files.feature_file(widths=(5, 4))
    content["train"]["audio"][:, :, 3] *= 1e6
    content["train"]["audio"][0, 0, 1] = 30_000
    content["test"]["vision"][:] = 0
    _, lines = report(tmp_path, content)
    over = next(line for line in lines if "fp16" in line)
    assert re.match(
        r"warning: audio column 3 \(\d+\.?\d*e\+06\): beyond fp16's 65504; .*bf16", over
    )
    far = next(line for line in lines if "median" in line)
    assert far.startswith("warning: audio column 1 (3e+04): over 1000 times the median column's")
    assert "warning: vision is zero throughout test" in lines
    zero = next(line for line in lines if line.startswith("vision: largest"))
    frames = sum(sum(content[n]["vision_lengths"]) for n in feature_files.SIZES)
    share = sum(content["test"]["vision_lengths"]) / frames
    assert f"{share:.1%} of the frames are zero" in zero


def test_what_was_done_to_labels_and_lengths_is_said(tmp_path):
    content = feature_files.feature_file()
    own = {"dataset": "mine", "family": "sims", "label_range": (-3, 3), "tokenizer": "corpus"}
    _, lines = report(tmp_path, content, **own)
    assert lines[-1].startswith("scores left out, as not defined for labels in [-3, 3]: acc5, acc3")
    for split in feature_files.SIZES:
        content[split]["audio"] = content[split]["audio"][:, ::-1]
    _, lines = report(tmp_path, content, **own, rescale_labels=True, overwrite=True)
    assert lines[-1] == "labels rescaled linearly from [-3, 3]"
    assert any(line.endswith(MEANING["padded_in_front"]) for line in lines)


def test_data_of_before_says_what_it_knows(tmp_path):
    index, now = report(tmp_path, feature_files.feature_file())
    unknown = dict.fromkeys(("scales", "label_scales", "gaps", "videos"))
    older = index.model_copy(update=unknown)
    lines = describe(older).splitlines()
    assert lines[-1] == "no video is in two splits (id: VIDEO$_$CLIP)"
    assert not any("largest" in line for line in lines)
    known = {"scales": index.scales, "label_scales": index.label_scales}
    remeasured = older.model_copy(update=known)
    assert describe(remeasured).splitlines()[:-1] == now[:-1]


# CMU-MOSI's own: the test split's videos are more negative than those that models learn from.
MOSI = {"train": (1284, 0.234, 1.509), "valid": (229, 0.310, 1.649), "test": (686, -0.317, 1.588)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "lie 0.551 below those of train .mean -0.317 against 0.234.: .* come out too high"),
        ({"test": (686, 0.785, 1.588)}, "lie 0.551 above those of train .* come out too low"),
        # Four standard errors are .4728 of 210 samples, and less than .2 deviations of 686.
        ({"test": (210, 0.708, 1.588)}, "lie 0.474 above"),
        ({"test": (210, 0.706, 1.588)}, None),
        ({"test": (686, 0.234 + 0.2 * 1.588 + 0.001, 1.588)}, "lie 0.3186 above"),
        ({"test": (686, 0.234 + 0.2 * 1.588 - 0.001, 1.588)}, None),
        ({"test": (10**6, 0.0, 1.588), "train": (10**6, 0.234, 1.5)}, None),  # certain, but small
        ({"test": (1, 3.0, 0.0)}, None),
        ({"train": (1, 3.0, 0.0)}, None),
        ({"test": (686, 0.5, 0.0), "train": (686, 0.5, 0.0)}, None),
        ({"test": (686, 0.6, 0.0), "train": (686, 0.5, 0.0)}, "lie 0.1 above"),
        ({"test": (686, -3e-5, 3e-5), "train": (686, 3e-5, 3e-5)}, r"lie 6e-05 below .*-3e-05 ag"),
    ],
)
def test_labels_that_lie_elsewhere_are_warned_of(tmp_path, change, told):
    index, _ = report(tmp_path, feature_files.feature_file())
    given = MOSI | change
    scales = {name: LabelScale(mean=mean, sd=sd) for name, (_, mean, sd) in given.items()}
    splits = {n: s.model_copy(update={"rows": given[n][0]}) for n, s in index.splits.items()}
    index = index.model_copy(update={"label_scales": scales, "splits": splits})
    lines = describe(index).splitlines()
    warned = [line for line in lines if line.startswith("warning: labels of test")]
    assert warned == [f"warning: {label_shift(index, 'test')}"] * (told is not None)
    assert told is None or re.search(told, warned[0])
    assert label_shift(index, "train") == ""
    alone = index.model_copy(update={"label_scales": {"test": scales["test"]}})
    assert label_shift(alone, "test") == ""
