"""Repairs against a plain loop, and what cannot be repaired."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lnln_dist.data import repair
from lnln_dist.errors import DataError

IDS = ["a", "b", "c", "d"]
BIG = float(np.finfo(np.float64).max)


@st.composite
def padded(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 3)))
    kind = draw(st.sampled_from(["<f4", "<f8", ">f8", "<f2", "<i4"]))
    odd = [0.0, 1.5, -2.25] + ([np.nan, np.inf, -np.inf] if kind[1] == "f" else [])
    odd += [BIG, -BIG] if kind[1:] == "f8" else []
    values = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from(odd)))
    lengths = draw(st.lists(st.integers(0, shape[1]), min_size=shape[0], max_size=shape[0]))
    with np.errstate(invalid="ignore"):
        chunk = values.astype(kind)
    return chunk, np.array(lengths), draw(st.integers(1, shape[1]))


@settings(deadline=None)
@given(padded())
def test_packing_is_a_plain_loop(case):
    chunk, lengths, limit = case
    before = chunk.copy()
    chunk.flags.writeable = False
    rows, kept, expected = [], [], Counter()
    for frames, length in zip(chunk.astype(np.float64), lengths, strict=True):
        expected["x.empty"] += length == 0
        expected["x.cut"] += length > limit
        expected["x.float64"] += chunk.dtype.kind == "f" and chunk.dtype.itemsize == 8
        for frame in frames[length:]:
            expected["x.beyond_length"] += any(v != 0 and np.isfinite(v) for v in frame)
        frames = frames[: min(length, limit)] if length else np.zeros((1, chunk.shape[2]))
        expected["x.all_nan"] += sum(np.isnan(frame).all() for frame in frames)
        expected["x.nan"] += sum(np.isnan(f).sum() for f in frames if not np.isnan(f).all())
        for value in frames.ravel():
            expected["x.plus_inf"] += value in (np.inf, BIG)
            expected["x.minus_inf"] += value in (-np.inf, -BIG)
        rows.append(np.where(np.isfinite(frames) & (np.abs(frames) < BIG), frames, 0))
        kept.append(len(frames))
    counts = Counter()
    packed, lengths_N = repair.pack_frames(chunk, lengths, limit=limit, field="x", counts=counts)
    assert packed.dtype == np.float32
    assert packed.flags.c_contiguous
    assert np.array_equal(packed, np.concatenate(rows).astype(np.float32))
    assert lengths_N.tolist() == kept
    assert +counts == +expected
    assert np.array_equal(chunk, before, equal_nan=chunk.dtype.kind == "f")


def test_labels():
    def read(values):
        return repair.label_column(values, ids=IDS, label_range=(-1, 1), where="w")[0]

    column = read([0.2, -1, 1.0000001, True])
    assert column.dtype == np.float32
    assert column.tolist() == [np.float32(0.2), -1, 1, 1]
    for wrong, shown in ((np.nan, "nan"), (np.inf, "inf"), (1.2, r"1\.2"), (-3, "-3")):
        with pytest.raises(
            DataError, match=rf"sample 'c' has the label {shown}.*\[-1, 1\] \(1 such"
        ):
            read([0, 0, wrong, 0])
    for wrong in (["x", "y", "z", "w"], [None, 1, 2, 3]):
        with pytest.raises(DataError, match="not numbers"):
            read(wrong)
    with pytest.raises(DataError, match="not one number per sample"):
        read(np.zeros((4, 2)))
    with pytest.raises(DataError, match="different shapes"):
        read([[1], [1, 2], [1], [1]])


def test_labels_are_clipped_on_request():
    def read(values):
        return repair.label_column(values, ids=IDS, label_range=(-3, 3), where="w", clip=True)

    # 11 / 3: four annotators where three were meant.
    column = repair.label_column(
        [11 / 3, -5, 3.000001, *[0.5] * 5],
        ids=[*"abcdefgh"],
        label_range=(-3, 3),
        where="w",
        clip=True,
    )
    assert (column[0].tolist(), column[1]) == ([3, -3, 3, *[0.5] * 5], 2)
    with pytest.raises(DataError, match=r"'a' .* \(2 such samples\): .* data set$"):
        read([4, 5, 0, 0])  # more than a quarter are no strays
    for wrong in (np.nan, np.inf):
        with pytest.raises(DataError, match=r"sample 'b' .* \(1 such samples\): .* data set$"):
            read([9, wrong, 0, 0])
    with pytest.raises(DataError, match=r"'a' has the label 4.*or pass --clip-labels$"):
        repair.label_column([4, 0, 0, 0], ids=IDS, label_range=(-3, 3), where="w")


def text_bert(ids, mask, segments=None):
    return np.array([[ids, mask, segments or [0] * len(ids)]] * 2, dtype=np.float64)


def test_tokens():
    for given_ in (text_bert([101, 7, 102, 0], [1, 1, 1, 0], [0, 1, 0, 0]),):
        for values in (given_, given_.astype(np.int64), given_.astype(np.float32), given_.tolist()):
            tokens = repair.read_tokens(values, ids=IDS, where="w")
            assert tokens.ids_NT.tolist() == [[101, 7, 102, 0]] * 2
            assert tokens.segments_NT.tolist() == [[0, 1, 0, 0]] * 2
            assert tokens.lengths_N.tolist() == [3, 3]
            assert (tokens.ids_NT.dtype, tokens.segments_NT.dtype) == (np.int32, np.int8)


@pytest.mark.parametrize(
    ("ids", "mask", "segments", "message"),
    [
        ([101, 7.5, 102, 0], [1, 1, 1, 0], None, "not whole numbers"),
        ([101, np.nan, 102, 0], [1, 1, 1, 0], None, "not whole numbers"),
        ([101, -1, 102, 0], [1, 1, 1, 0], None, "not whole numbers"),
        ([101, 2**31, 102, 0], [1, 1, 1, 0], None, "not whole numbers"),
        ([101, 7, 102, 0], [1, 0, 1, 0], None, "not ones followed by zeros"),
        ([101, 7, 102, 0], [0, 1, 1, 1], None, "not ones followed by zeros"),
        ([101, 7, 102, 0], [2, 1, 1, 0], None, "not ones followed by zeros"),
        ([101, 7, 102, 0], [1, 0, 0, 0], None, "fewer than two tokens"),
        ([101, 7, 102, 0], [0, 0, 0, 0], None, "fewer than two tokens"),
        ([101, 7, 102, 0], [1, 1, 1, 0], [0, 0, 300, 0], "segment ids over 127"),
    ],
)
def test_damaged_tokens_name_the_sample(ids, mask, segments, message):
    values = text_bert([101, 7, 102, 0], [1, 1, 1, 0])
    values[1] = text_bert(ids, mask, segments)[0]
    with pytest.raises(DataError, match=f"^w: sample 'b': .*{message}.*--tokenizer"):
        repair.read_tokens(values, ids=IDS, where="w")


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3), (2, 3, 0), (2, 3, 4, 1)])
def test_tokens_of_another_shape(shape):
    with pytest.raises(DataError, match=r"expected \(samples, 3, places\)"):
        repair.read_tokens(np.zeros(shape), ids=IDS, where="w")


def test_shape_of_a_sample():
    assert repair.sample_shape(np.zeros((2, 3, 4)), where="w") == (3, 4)
    assert repair.sample_shape([[[1.0, 2.0]]], where="w") == (1, 2)
    with pytest.raises(DataError, match="pad them"):
        repair.sample_shape([[[1.0, 2.0], [1.0]]], where="w")
