"""Where the real frames lie: padded at either end, with lengths, with a mask, with neither."""

from collections import Counter

import feature_files
import numpy as np
import pytest
from feature_files import check, converted
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lnln_dist.data.lengths import find_extents, given_lengths
from lnln_dist.data.mmsa import RawFile, RawSplit
from lnln_dist.data.schema import SPLITS
from lnln_dist.data.summary import describe
from lnln_dist.errors import DataError

IDS = ["a", "b", "c", "d"]


@pytest.fixture
def content():
    return feature_files.feature_file()


def in_front(content, *fields, lengths=True):
    """A copy of ``content`` whose fields are padded in front, as MulT's files are."""
    moved = {name: dict(content[name]) for name in SPLITS}
    for split in moved.values():
        for field in fields:
            frames, places = split[field], split[field].shape[1]
            shifts = places - np.array(split[f"{field}_lengths"])
            split[field] = np.stack(
                [np.roll(f, n, axis=0) for f, n in zip(frames, shifts, strict=True)]
            )
            if not lengths:
                del split[f"{field}_lengths"]
    return moved


@pytest.mark.parametrize("lengths", [True, False])
def test_padding_in_front_is_found_said_and_removed(tmp_path, content, lengths):
    moved = in_front(content, "audio", "vision", lengths=lengths)
    index, dataset = converted(tmp_path, moved)
    check(dataset, content)
    for name in SPLITS:
        short = sum(n < 9 for n in content[name]["audio_lengths"])
        assert index.repairs[name]["audio.padded_in_front"] == short > 0
        assert "vision.padded_in_front" in index.repairs[name]
        assert not [what for what in index.repairs[name] if what.endswith(".beyond_length")]


def raw_file(sequences, places, *, front, lengths, mask=None):
    padded = np.zeros((len(sequences), places, 2))
    for row, frames in zip(padded, sequences, strict=True):
        row[places - len(frames) if front else 0 :][: len(frames)] = frames
    count = [len(frames) for frames in sequences]
    split = RawSplit(
        ids=[str(i) for i in range(len(sequences))],
        raw_text=[],
        frames={"audio": padded, "vision": padded},
        lengths={"audio": count if lengths else None, "vision": None},
        text_bert=mask,
        labels={},
        unusable={},
    )
    return RawFile(source=None, splits={"train": split}), padded


def extents(raw, **choices):
    choices = {"name": "f", "chunk_bytes": 100, "allow_cut": False, **choices}
    return find_extents(raw, "audio", **choices)["train"]


# One frame of a sequence; zeros may lie inside one but not at its ends.
frame = st.sampled_from([(0.0, 0.0), (1.0, 0.0), (0.0, -2.5), (3.0, 4.0)])
end = frame.filter(any)
sequence = st.builds(lambda a, inner, b: [a, *inner, b], end, st.lists(frame, max_size=6), end)


@settings(deadline=None)
@given(
    sequences=st.lists(sequence, min_size=3, max_size=6),
    extra=st.integers(0, 4),
    front=st.booleans(),
    lengths=st.booleans(),
)
def test_padding_and_unpadding_is_a_round_trip(sequences, extra, front, lengths):
    places = max(map(len, sequences)) + extra
    short = sum(len(frames) < places for frames in sequences)
    assume(lengths or short >= 3)  # fewer are no evidence
    raw, padded = raw_file(sequences, places, front=front, lengths=lengths)
    found = extents(raw)
    assert found.counts["audio.padded_in_front"] == (short if front else 0)
    for row, start, length, frames in zip(
        padded, found.start_N, found.length_N, sequences, strict=True
    ):
        assert row[start : start + length].tolist() == [list(f) for f in frames]


def contradicted(content, rows, split="train"):
    """Lengths that lie about where the frames are: the real ones lie in the middle."""
    field = content[split]
    frames = field["audio"] = np.zeros_like(field["audio"])
    for row in rows:
        frames[row, 3:8] = 1
        field["audio_lengths"][row] = 4
    others = [row for row in range(len(frames)) if row not in rows]
    frames[others] = 1
    for row in others:
        field["audio_lengths"][row] = 9
    return content


@pytest.mark.parametrize("rows", [[5], list(range(12))])
def test_lengths_that_the_frames_contradict_are_refused(tmp_path, content, rows):
    contradicted(content, rows)
    sample = content["train"]["id"][rows[0]].replace("$", r"\$")
    with pytest.raises(DataError, match=f"train: audio: sample '{sample}': 4 of its 5") as caught:
        converted(tmp_path, content)
    assert "--allow-cut" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_that_was_asked_for_is_counted(tmp_path, content):
    contradicted(content, [5])
    index, dataset = converted(tmp_path, content, allow_cut=True)
    assert index.repairs["train"]["audio.beyond_length"] == 4
    assert dataset.split("train").lengths["audio"][5] == 4


def test_a_few_stray_frames_are_dropped_and_counted(tmp_path, content):
    train = content["train"]
    train["audio"] = np.ones((12, 200, 3), np.float32)
    train["audio_lengths"] = [199] + [200] * 11
    index, dataset = converted(tmp_path, content)
    assert index.repairs["train"] == {"audio.beyond_length": 1}
    assert dataset.split("train").lengths["audio"][0] == 199


def test_a_split_that_loses_a_lot_is_not_hidden_by_the_others(tmp_path, content):
    """A tenth of the small test split, half a percent of the file."""
    for name, n in feature_files.SIZES.items():
        content[name]["audio"] = np.ones((n, 400 if name == "train" else 20, 3), np.float32)
        content[name]["audio_lengths"] = [400 if name == "train" else 20] * n
    content["test"]["audio_lengths"] = [18] * 7
    with pytest.raises(DataError, match=r"test: audio: .*7 such samples, 10.0% of the non-zero"):
        converted(tmp_path, content)
    index, _ = converted(tmp_path, content, allow_cut=True)
    assert "repaired in test: audio: 14 frames outside" in describe(index)
    assert "dropped (10.0% of its frames)" in describe(index)


def test_aligned_files_take_lengths_from_the_mask(tmp_path):
    content = feature_files.feature_file(audio=10, vision=6)
    lengths = {name: content[name]["text_bert"][:, 1].sum(axis=1) for name in SPLITS}
    for name in SPLITS:
        del content[name]["audio_lengths"]
        inside = np.arange(10) < lengths[name][:, None]
        content[name]["audio"] = np.where(inside[..., None], np.float32(1), np.float32(0))
        content[name]["audio"][0, lengths[name][0].astype(int) - 2 :] = 0  # no sound at the end
    index, dataset = converted(tmp_path, content)
    assert dataset.split("train").lengths["audio"].tolist() == lengths["train"].tolist()
    assert index.repairs["valid"]["audio.length_from_mask"] == 5
    assert "audio.length_from_zeros" not in index.repairs["valid"]


def test_as_many_places_as_the_text_by_chance_is_not_aligned(tmp_path):
    content = feature_files.feature_file(audio=10)
    expected = {name: list(content[name]["audio_lengths"]) for name in SPLITS}
    for name in SPLITS:
        del content[name]["audio_lengths"]
    index, dataset = converted(tmp_path, content)
    for name in SPLITS:
        assert dataset.split(name).lengths["audio"].tolist() == expected[name]
        assert index.repairs[name]["audio.length_from_zeros"] == feature_files.SIZES[name]
        assert "audio.beyond_length" not in index.repairs[name]


def test_frames_well_inside_the_mask_are_not_aligned():
    mask = np.tile(np.array([[101, *[1000] * 6, 102], [1] * 8, [0] * 8]), (4, 1, 1))
    for count, expected in (((1, 2, 3, 2), [1, 2, 3, 2]), ((7, 6, 8, 2), [8] * 4)):
        made = [[(1.0, 1.0)] * n for n in count]
        raw, _ = raw_file(made, 8, front=False, lengths=False, mask=mask)
        assert extents(raw).length_N.tolist() == expected


def test_a_damaged_mask_decides_nothing(tmp_path):
    content = feature_files.feature_file(audio=10)
    expected = list(content["train"]["audio_lengths"])
    for name in SPLITS:
        del content[name]["audio_lengths"]
        content[name]["text_bert"][0, 1] = [0] + [1] * 9
    _, dataset = converted(tmp_path, content, tokenizer="corpus")
    assert dataset.split("train").lengths["audio"].tolist() == expected


def test_missing_lengths_of_unaligned_files_come_from_the_zeros(tmp_path, content):
    expected = [list(content[name]["vision_lengths"]) for name in SPLITS]
    for name in SPLITS:
        del content[name]["vision_lengths"]
    content["train"]["vision"][2] = 0
    expected[0][2] = 1
    index, dataset = converted(tmp_path, content)
    assert [dataset.split(name).lengths["vision"].tolist() for name in SPLITS] == expected
    assert index.repairs["train"] == {"vision.empty": 1, "vision.length_from_zeros": 12}


def test_a_face_not_yet_found_is_no_padding(tmp_path, content):
    """A few sequences that begin with zeros do not make a file padded in front."""
    for name in SPLITS:
        del content[name]["vision_lengths"]
        content[name]["vision"] = np.ones_like(content[name]["vision"])
    content["train"]["vision"][3:5, :2] = 0
    index, dataset = converted(tmp_path, content)
    assert set(dataset.split("train").lengths["vision"]) == {6}
    assert "vision.padded_in_front" not in index.repairs["train"]


def test_lengths_from_zeros():
    raw, padded = raw_file([[(1.0, 1.0)]] * 3, 4, front=False, lengths=False)
    padded[:] = 0
    padded[0, 1, 0] = 1
    padded[1, 3, 1] = -np.inf
    assert extents(raw).length_N.tolist() == [2, 0, 0]


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
def test_padding_that_is_not_finite_is_padding(value, front, lengths):
    made = [[(1.0, 1.0)] * n for n in (2, 4, 1, 3, 2)]
    raw, padded = raw_file(made, 4, front=front, lengths=lengths)
    padded[padded == 0] = value
    found = extents(raw)
    assert found.length_N.tolist() == [2, 4, 1, 3, 2]
    assert found.start_N.tolist() == ([2, 0, 3, 1, 2] if front else [0] * 5)


def test_single_values_that_are_not_finite_leave_a_frame_a_frame():
    raw, padded = raw_file([[(1.0, 1.0)] * 4] * 3, 4, front=False, lengths=False)
    padded[:, 3, 1] = -np.inf
    assert extents(raw).length_N.tolist() == [4, 4, 4]


def test_given_lengths():
    counts = Counter()

    def read(values):
        return given_lengths(values, padded=5, ids=IDS, field="audio", counts=counts, where="w")

    assert read([1, 9, 5, 0]).tolist() == [1, 5, 5, 0]
    assert counts["audio.over_padding"] == 1
    assert read(np.array([[1.0], [2.0], [3.0], [6.0]])).tolist() == [1, 2, 3, 5]
    assert counts["audio.over_padding"] == 2
    for wrong in ([1, 2, -1, 3], [1, 2, 2.5, 3], [1, 2, np.nan, 3]):
        with pytest.raises(DataError, match="sample 'c' has the length"):
            read(wrong)


def test_a_sequence_without_frames_padded_in_front(tmp_path, content):
    content["train"]["audio_lengths"][4] = 0
    content["train"]["audio"][4] = 0
    index, dataset = converted(tmp_path, in_front(content, "audio"))
    assert dataset.split("train").frames("audio", 4).tolist() == [[0, 0, 0]]
    assert index.repairs["train"]["audio.empty"] == 1


def test_a_mask_that_one_sample_contradicts_is_no_length(tmp_path):
    """Most of one sample is not lost because it is little of the file."""
    content = feature_files.feature_file(audio=200, text=200)
    for name, n in feature_files.SIZES.items():
        split = content[name]
        lengths = np.full(n, 198)
        lengths[0] = 18
        inside = np.arange(200) < lengths[:, None]
        split["audio"] = np.where(inside[..., None], np.float32(1), np.float32([0] * 3))
        del split["audio_lengths"]
        lengths[0] = 6
        mask = (np.arange(200) < lengths[:, None]).astype(np.float32)
        ids = mask * 1000
        ids[:, 0], ids[np.arange(n), lengths - 1] = feature_files.CLS, feature_files.SEP
        split["text_bert"] = np.stack([ids, mask, 0 * mask], axis=1)
    index, dataset = converted(tmp_path, content)
    for name, n in feature_files.SIZES.items():
        assert dataset.split(name).lengths["audio"].tolist() == [18] + [198] * (n - 1)
        assert index.repairs[name]["audio.length_from_zeros"] == n


def between_zeros(content, splits, *, lead=4, trail=0, lengths=None):
    """``content`` with audio of ones between zeros, and the extents that are real."""
    for name in SPLITS:
        n = feature_files.SIZES[name]
        start = lead if name in splits else 0
        content[name]["audio"] = np.zeros((n, 20, 3), np.float32)
        for row, frames in enumerate(content[name]["audio"]):
            frames[start + row % 3 : (20 - trail) if name in splits else 15 - row % 3] = 1
        content[name]["audio_lengths"] = None if lengths is None else [lengths] * n
    return {
        name: [int(n) for n in content[name]["audio"].any(axis=2).sum(axis=1)] for name in SPLITS
    }


@pytest.mark.parametrize(
    ("splits", "choices"),
    [
        (SPLITS, {"lengths": 20}),  # lengths that count the padding
        (("test",), {}),  # one split only
        (SPLITS, {"trail": 5}),  # on both sides
    ],
)
def test_zeros_that_most_sequences_begin_with_are_padding(tmp_path, content, splits, choices):
    expected = between_zeros(content, splits, **choices)
    index, dataset = converted(tmp_path, content)
    for name in splits:
        assert dataset.split(name).lengths["audio"].tolist() == expected[name]
        assert index.repairs[name]["audio.padded_in_front"] == feature_files.SIZES[name]
        assert "audio.leading_zeros" not in index.repairs[name]
    for name in set(SPLITS) - set(splits):
        assert "audio.padded_in_front" not in index.repairs[name]


def test_a_split_padded_in_front_beside_others_with_lengths(tmp_path, content):
    moved = in_front(content, "audio")
    index, dataset = converted(tmp_path, {**content, "test": moved["test"]})
    check(dataset, content)
    assert index.repairs["test"]["audio.padded_in_front"]
    assert "audio.padded_in_front" not in index.repairs["train"]


@pytest.mark.parametrize(
    ("lead", "trail", "starts"),
    [
        ([5], [0], [5]),
        ([4, 3], [0, 0], [4, 3]),
        ([0, 6], [0, 0], [0, 6]),  # the longest of two fills all places
        ([0, 6], [4, 0], [0, 6]),  # one clip at either end
        ([2], [0], [0]),  # a face not yet found
        ([5], [4], [0]),  # zeros on both sides of one clip show nothing
        ([5, 0, 0, 0], [0, 0, 0, 0], [0] * 4),  # the others reach the end and begin at once
        ([5, 0, 0, 0], [0, 3, 3, 3], [0] * 4),  # the others are padded at the end
    ],
)
def test_one_or_two_clips_padded_in_front_are_told_by_their_own_zeros(lead, trail, starts):
    raw, padded = raw_file([[(1.0, 1.0)] * 12] * len(lead), 12, front=False, lengths=False)
    for frames, before, behind in zip(padded, lead, trail, strict=True):
        frames[:before] = 0
        frames[12 - behind :] = 0
    found = extents(raw)
    assert found.start_N.tolist() == starts
    stops = [12 - n for n in trail]
    assert found.length_N.tolist() == [b - a for a, b in zip(starts, stops, strict=True)]
    assert found.counts["audio.padded_in_front"] == sum(n > 0 for n in starts)
    kept = [n for n, start in zip(lead, starts, strict=True) if n >= 3 and not start]
    assert found.counts["audio.leading_zeros"] == sum(kept)


def test_leading_zeros_of_few_sequences_with_lengths_are_kept_and_counted():
    raw, padded = raw_file([[(1.0, 1.0)] * 9] * 2, 9, front=False, lengths=True)
    padded[0, :4] = padded[1, :3] = 0
    found = extents(raw)
    assert (found.start_N.tolist(), found.length_N.tolist()) == ([0, 0], [9, 9])
    assert found.counts["audio.leading_zeros"] == 7


def test_zeros_at_both_ends_within_lengths_are_real():
    """Faces are lost at the end as often as at the beginning; padding lies at one."""
    raw, padded = raw_file([[(1.0, 1.0)] * 12] * 4, 12, front=False, lengths=True)
    padded[:, :3] = padded[:, -3:] = 0
    found = extents(raw)
    assert (found.start_N.tolist(), found.length_N.tolist()) == ([0] * 4, [12] * 4)
    assert found.counts["audio.leading_zeros"] == 12


def test_lengths_that_nearly_all_exceed_the_places_are_refused(tmp_path, content):
    for name in SPLITS:
        content[name]["audio_lengths"] = [40] * feature_files.SIZES[name]
    with pytest.raises(DataError, match="24 of 24 audio_lengths exceed the places of audio"):
        converted(tmp_path, content)
