"""Sizes and gaps of features, against a plain loop and through the files."""

import hashlib
import itertools
import json

import feature_files
import numpy as np
import pytest
from feature_files import converted
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lnln_dist.commands import prepare, verify
from lnln_dist.data import convert, measure
from lnln_dist.data.measure import Measure, count_gaps, find_gaps, measured, normalisation
from lnln_dist.data.schema import INDEX, Gaps, LabelScale, write_index
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.summary import describe, natural_gaps
from lnln_dist.errors import DataError

UNK = 100


@given(
    st.lists(st.lists(st.booleans(), min_size=2, max_size=7), min_size=1),
    st.sampled_from(["text", "audio", "vision"]),
)
def test_gaps_are_those_of_a_plain_loop(samples, modality):
    ends = modality == "text"  # which stay, and of which no run of one is a gap
    expected, counts, absent = [], [], 0
    for sample in samples:
        inner = sample[1:-1] if ends else sample
        if inner and all(inner):
            lost = [False] * ends + inner + [False] * ends
            absent += 1
        else:
            runs = [(empty, len(list(run))) for empty, run in itertools.groupby(sample)]
            lost = [
                empty and 0 < i < len(runs) - 1 and n >= 1 + ends
                for i, (empty, n) in enumerate(runs)
                for _ in range(n)
            ]
        expected += lost
        counts.append([len(list(run)) for gap, run in itertools.groupby(lost) if gap])
    empty_S = np.array([place for sample in samples for place in sample])
    lengths_N = np.array([len(sample) for sample in samples])
    found_S = find_gaps(empty_S, lengths_N, modality)
    assert found_S.tolist() == expected
    assert count_gaps(found_S, lengths_N, modality) == Gaps(
        samples=sum(map(bool, counts)),
        runs=sum(map(len, counts)),
        places=sum(map(sum, counts)),
        absent=absent,
    )


def damaged():
    """A file with known gaps: two in the tokens, two in the audio, none in the vision."""
    content = feature_files.feature_file()
    ids = content["train"]["text_bert"][:, 0]
    ids[0, 2:4] = ids[0, 6:9] = UNK
    content["train"]["text_bert"][1, 0, 1] = UNK  # a word that is not known
    test = content["test"]
    test["audio"], test["audio_lengths"] = np.ones((7, 9, 3), np.float32), [9] * 7
    test["audio"][3, 1] = test["audio"][3, 4:7] = 0
    test["audio"][4, :2] = test["audio"][5, 7:] = 0  # at the ends
    return content


def test_gaps_are_kept_by_modality_and_split(tmp_path):
    content = damaged()
    index, dataset = converted(tmp_path, content)
    none = Gaps(samples=0, runs=0, places=0, absent=0)
    assert index.gaps["text"] == {
        "train": Gaps(samples=1, runs=2, places=5, absent=0),
        "valid": none,
        "test": none,
    }
    assert index.gaps["audio"]["test"] == Gaps(samples=1, runs=2, places=4, absent=0)
    assert set(index.gaps["vision"].values()) == {none}
    # Said place by place, not touched.
    assert index.format_version == 2
    assert [index.splits[name].seen for name in index.splits] == [("text",), (), ("audio",)]
    train, test = dataset.split("train"), dataset.split("test")
    lost = [2, 3, 6, 7, 8]
    assert np.flatnonzero(~train.seen("text", 0)).tolist() == lost
    assert train.seen("text", 1).all()
    assert np.flatnonzero(~test.seen("audio", 3)).tolist() == [1, 4, 5, 6]
    assert test.seen("audio", 4).all()
    assert test.seen("text", 3) is train.seen("audio", 0) is None
    assert np.array_equal(dataset.split("test").frames("audio", 3), content["test"]["audio"][3])
    assert dataset.split("train").tokens(0)[2] == UNK


def earlier(gaps):
    """As written before samples without a modality were counted."""
    return {
        m: {name: one.model_copy(update={"absent": None}) for name, one in of_split.items()}
        for m, of_split in gaps.items()
    }


@pytest.mark.parametrize(
    "unknown",
    [
        *({}, {"gaps": None}, {"scales": None}, {"gaps": earlier}),
        *({"label_scales": None}, {"label_scales": {"test": LabelScale(mean=0, sd=1)}}),
    ],
)
@pytest.mark.parametrize("content", [damaged, feature_files.feature_file])
def test_what_an_older_index_does_not_say_is_measured(tmp_path, content, unknown):
    index, dataset = converted(tmp_path, content(), shard_mb=0.004)
    unknown = {k: v(index.gaps) if callable(v) else v for k, v in unknown.items()}
    write_index(index.model_copy(update=unknown), dataset.folder)
    assert measured(dataset.folder) == index


def test_gaps_are_looked_for_once(tmp_path, monkeypatch):
    searched = []
    monkeypatch.setattr(convert, "find_gaps", lambda *of: searched.append(of[2]) or find_gaps(*of))
    monkeypatch.setattr(measure, "find_gaps", None)
    index, _ = converted(tmp_path, damaged(), shard_mb=0.004)
    assert searched == ["text", "audio", "vision"] * 3
    assert index.gaps["audio"]["test"].places == 4


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ({"samples": 0, "runs": 0, "places": 0, "absent": 0}, []),
        ({"samples": 1, "runs": 1, "places": 1, "absent": 1}, ["1 of 7 samples has no audio"]),
        ({"samples": 3, "runs": 3, "places": 3, "absent": 3}, ["3 of 7 samples have no audio"]),
        (
            {"samples": 3, "runs": 4, "places": 9, "absent": 2},
            [
                "2 of 7 samples have no audio",
                "audio: 9 zero frames in 4 runs within 3 of 7 samples (14.3% of its places), those "
                "without any included",
            ],
        ),
        (
            {"samples": 1, "runs": 1, "places": 1},
            ["audio: 1 zero frame in 1 run within 1 of 7 samples (1.6% of its places)"],
        ),
    ],
)
def test_samples_without_a_modality_are_told_in_words(tmp_path, found, lines):
    index, _ = converted(tmp_path, damaged())
    index = index.model_copy(update={"gaps": {"audio": {"test": Gaps(**found)}}})
    assert natural_gaps(index, "test") == [f"natural gaps in test: {line}" for line in lines]


def test_prepare_and_verify_report_gaps(tmp_path, capsys):
    source = feature_files.write(tmp_path / "f.pkl", damaged())
    prepare.command([str(source), str(tmp_path / "out"), "--dataset", "mosi"])
    written = capsys.readouterr().out.splitlines()
    text = "natural gaps in train: text: 5 [UNK] tokens in 2 runs within 1 of 12 samples ("
    audio = "natural gaps in test: audio: 4 zero frames in 2 runs within 1 of 7 samples (6.3% of"
    assert [line[: len(m)] for line, m in zip(written[-3:], (text, audio), strict=False)] == [
        text,
        audio,
    ]
    assert verify.command([str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == written
    assert "gaps" not in describe(
        converted(tmp_path, feature_files.feature_file(), overwrite=True)[0]
    )


def test_what_was_never_there_at_all_is_a_gap(tmp_path):
    content = feature_files.feature_file()
    valid = content["valid"]
    valid["audio"], valid["audio_lengths"] = np.ones((5, 9, 3), np.float32), [9] * 5
    valid["audio"][0] = 0  # zero throughout
    valid["audio_lengths"][1] = 0  # no frames
    valid["audio"][1] = 0
    valid["audio"][2, [0, 8]] = np.nan  # said not to be there, at the ends too
    valid["audio"][3, 4, 1] = np.nan  # a value, no frame
    valid["text_bert"][0, 0, 1:-1] = UNK
    ends = valid["text_bert"][0, 1].sum().astype(int) - 1
    valid["text_bert"][0, 0, ends:] = [feature_files.SEP] + [0] * (9 - ends)
    index, dataset = converted(tmp_path, content)
    split = dataset.split("valid")
    assert index.splits["valid"].seen == ("text", "audio")
    assert [split.seen("audio", row).tolist() for row in range(4)] == [
        [False] * 9,
        [False],
        [False, *[True] * 7, False],
        [True] * 9,
    ]
    assert split.seen("text", 0).tolist() == [True, *[False] * (ends - 1), True]
    assert index.gaps["audio"]["valid"] == Gaps(samples=3, runs=4, places=12, absent=2)
    assert index.repairs["valid"]["audio.all_nan"] == 2
    assert index.repairs["valid"]["audio.nan"] == 1
    assert np.isfinite(split.frames("audio", 2)).all()


def test_gaps_beyond_the_places_kept_are_none(tmp_path):
    content = damaged()
    content["train"] = feature_files.feature_file()["train"]
    index, dataset = converted(tmp_path, content, max_lengths={"audio": 4})
    assert np.flatnonzero(~dataset.split("test").seen("audio", 3)).tolist() == [1]
    content["test"]["audio"][3, 1] = 1
    index, _ = converted(tmp_path, content, max_lengths={"audio": 4}, overwrite=True)
    assert index.format_version == 1


def test_many_shards_say_what_one_says(tmp_path):
    _, one = converted(tmp_path, damaged())
    (tmp_path / "many").mkdir()
    index, many = converted(tmp_path / "many", damaged(), shard_mb=0.002)
    assert len(index.splits["train"].shards) > 2
    for name, m in (("train", "text"), ("test", "audio")):
        pairs = ((data.split(name).seen(m, row) for data in (one, many)) for row in range(7))
        assert all(np.array_equal(*pair) for pair in pairs)


def test_data_of_before_there_were_masks_open(tmp_path):
    _, dataset = converted(tmp_path, feature_files.feature_file())
    path = dataset.folder / INDEX
    content = json.loads(path.read_text())
    del content["checksum"]
    for split in content["splits"].values():
        assert split.pop("seen") == []
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))
    old = open_dataset(dataset.folder)
    assert old.index == dataset.index
    assert old.split("train").seen("text", 0) is None


@given(
    hnp.arrays(np.float32, (7, 2), elements=st.sampled_from([0.0, 1.0, -2.5, 1000.25])),
    st.lists(st.integers(0, 7), max_size=3),
    st.floats(0, 1e4),
)
def test_means_are_those_of_the_frames_that_were_there_in_any_chunks(frames_SD, cuts, shift):
    frames_SD = np.where(frames_SD.any(axis=1, keepdims=True), frames_SD + np.float32(shift), 0)
    sizes = Measure({"audio": 2, "vision": 2}, UNK)
    for split in ("train", "test"):  # the test split does not count
        for part_SD in np.split(frames_SD + (1 if split == "test" else 0), sorted(cuts)):
            if len(part_SD):
                lengths = dict.fromkeys(("text", "audio", "vision"), np.array([len(part_SD)]))
                tokens_S = np.zeros(len(part_SD), np.int32)
                sizes.add(split, tokens_S, {"audio": part_SD, "vision": part_SD}, lengths, {})
    there_SD = frames_SD[frames_SD.any(axis=1)].astype(np.float64)
    if not len(there_SD):
        there_SD = np.zeros((1, 2))
    for scale in sizes.scales().values():
        np.testing.assert_allclose(scale.mean, there_SD.mean(axis=0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(scale.sd, there_SD.std(axis=0), rtol=1e-6, atol=1e-6)


def test_data_without_means_are_not_normalised(tmp_path):
    index, dataset = converted(tmp_path, damaged())
    assert normalisation(index, wanted=True) == index.scales
    assert normalisation(index, wanted=False) is None
    own = np.concatenate([dataset.split("train").frames("vision", row) for row in range(12)])
    np.testing.assert_allclose(index.scales["vision"].mean, own.mean(axis=0), rtol=1e-5)
    older = {m: s.model_copy(update={"mean": None}) for m, s in index.scales.items()}
    for scales in (None, older):
        with pytest.raises(DataError, match=r"data.normalise: .* prepare them anew"):
            normalisation(index.model_copy(update={"scales": scales}), wanted=True)


def test_labels_are_measured_in_the_unit_they_are_predicted_in(tmp_path):
    content = feature_files.feature_file()
    own = {"dataset": "mine", "family": "sims", "label_range": (-3, 3), "tokenizer": "corpus"}
    for split in feature_files.SIZES:  # those of one modality are not to be predicted
        content[split]["regression_labels_T"] = np.full(feature_files.SIZES[split], 3.0)
    index, dataset = converted(tmp_path, content, **own, rescale_labels=True)
    assert index.labels == ("label", "label_text")
    for name, scale in index.label_scales.items():
        label_N = dataset.split(name).labels.astype(np.float64)
        assert (scale.mean, scale.sd) == (label_N.mean(), label_N.std())
        assert np.abs(label_N).max() <= 1


def test_a_split_of_which_a_label_is_unknown_has_no_mean():
    sizes = Measure({"audio": 2, "vision": 2}, UNK)
    sizes.add_labels("train", np.array([1, 2], np.float32))
    for split, unknown in (("valid", np.inf), ("test", np.nan)):
        for part in ([0.5], [unknown]):
            sizes.add_labels(split, np.array(part, np.float32))
    assert sizes.label_scales() == {"train": LabelScale(mean=1.5, sd=0.5)}
