"""Rows of fields in every spelling."""

import numpy as np
import pytest

from lnln_dist.data.repair import numeric, sample_shape
from lnln_dist.data.values import (
    Unpadded,
    depth,
    frames,
    label_numbers,
    rows,
    sample_ids,
    sentences,
)
from lnln_dist.errors import DataError

IDS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (["x", b"y", "z"], ["x", "y", "z"]),
        ([1, 2.0, 2.5], ["1", "2", "2.5"]),
        (np.array([0.1, 82.7645, 3], np.float64), ["0.1", "82.7645", "3"]),
        ([("v", 0), ("v", 1), ["w", 0.5]], ["v$_$0", "v$_$1", "w$_$0.5"]),
        (
            np.array([[b"v", b"1.5", b"2"], [b"v", b"2", b"3"], [b"w", b"0", b"1"]]),
            ["v$_$1.5$_$2", "v$_$2$_$3", "w$_$0$_$1"],
        ),
        (np.array([["x"], ["y"], ["z"]], dtype=object), ["x", "y", "z"]),
    ],
)
def test_ids(given, ids):
    assert sample_ids(given, "id") == ids


@pytest.mark.parametrize("wrong", [None, True, float("nan"), (), {}])
def test_what_is_no_id(wrong):
    with pytest.raises(DataError, match=r"id: row 1: holds a .*: an id is a string"):
        sample_ids(["a", wrong], "id")


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ([1, -0.5, np.float32(2)], [1, -0.5, 2]),
        (np.array([[[1]], [[2]], [[3]]]), [1, 2, 3]),
        (["1.5", b"-2", "0"], [1.5, -2, 0]),
        ([np.array([[1.0]]), np.array([[2.0]]), [3]], [1, 2, 3]),
        ([None, 1.0, "nan"], [np.nan, 1, np.nan]),
        (np.array([1, None, 2.5], dtype=object), [1, np.nan, 2.5]),
    ],
)
def test_labels(given, numbers):
    found = label_numbers(given, ids=IDS, column=None, where="labels")
    np.testing.assert_array_equal(found, numbers)
    np.testing.assert_array_equal(label_numbers(given, ids=IDS, column=0, where="labels"), found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["1", "Positive", "2"], "sample 'b': has the label 'Positive', not a number"),
        ([1, {}, 2], "sample 'b': has the label {}, not a number"),
        ([[1, 2], [1], [1, 2]], "sample 'b': has 1 labels, the others have 2"),
        (np.zeros((3, 7)), "7 values per sample.*--label-column 0 to 6"),
        ([1, 2], "labels has 2 rows, id has 3"),
        ("123", "labels is a str"),
    ],
)
def test_what_is_no_label(given, message):
    with pytest.raises(DataError, match=message):
        label_numbers(given, ids=IDS, column=None, where="labels")


def test_words_become_sentences():
    given = [["a", "good", "film"], np.array([[b"so"], [b"so"]]), [], "as it is"]
    assert sentences(given, ["1", "2", "3", "4"], "words") == [
        "a good film",
        "so so",
        "",
        "as it is",
    ]
    with pytest.raises(DataError, match=r"words: sample 'b': no strings.*word2id"):
        sentences([["a"], np.array([4, 7])], IDS, "words")


@pytest.mark.parametrize(
    ("given", "axes"),
    [
        (np.zeros((2, 3)), 2),
        ([[1.0, 2.0]], 2),
        ([np.zeros((4, 2)), np.zeros((3, 2))], 3),
        (np.array([np.zeros((4, 2)), np.zeros((3, 2))], dtype=object), 3),
        ("abc", 0),
        (None, 0),
        ([], 1),
    ],
)
def test_depth(given, axes):
    assert depth(given) == axes


def endless(kind):
    """Lists, or an array, that contain themselves, at the first place or at a later one."""
    if kind == "array":
        found = np.empty(2, dtype=object)
        found[:] = ["a", found]
        return found
    found = [1.0, 2.0, 3.0]
    found[0 if kind == "first" else 2] = [found, found] if kind == "twice" else found
    return found


def nested(levels):
    found = 1.0
    for _ in range(levels):
        found = [found]
    return [found, found, found]


@pytest.mark.parametrize("given", [*map(endless, ("first", "last", "twice", "array")), nested(9)])
def test_lists_that_contain_themselves_are_refused(given):
    with pytest.raises(DataError, match="x holds lists that contain themselves or are nested"):
        rows(given, "x")
    assert depth(given) > 0


@pytest.mark.parametrize("value", [10**400, {"a": nested(30_000)}])
def test_values_that_python_cannot_make_a_number_or_show(value):
    with pytest.raises(DataError, match=r"sample 'b'.* has the label .*, not a number"):
        label_numbers([1, value, 2], ids=IDS, column=None, where="labels")


def test_a_number_of_too_many_digits_is_no_id():
    with pytest.raises(DataError, match=r"id: row 0: .*an id is a string"):
        sample_ids([10**5000], "id")


# The last one has no frames.
RAGGED = [np.ones((2, 3), np.float32), np.full((4, 3), 2, np.float32), np.zeros((0, 3))]


@pytest.mark.parametrize(
    "given",
    [
        RAGGED,
        tuple(RAGGED),
        np.array([*RAGGED, None], dtype=object)[:3],
        [sample.tolist() for sample in RAGGED],
        [*RAGGED[:2], None],
    ],
)
def test_samples_of_unequal_length_look_padded(given):
    found = frames(given, ids=IDS, where="x")
    assert isinstance(found, Unpadded)
    assert (len(found), found.lengths) == (3, [2, 4, 0])
    assert sample_shape(found, where="x") == (4, 3)
    whole = numeric(found[0:3], where="x")
    assert whole.shape == (3, 4, 3)
    assert whole[0].tolist() == [[1] * 3] * 2 + [[0] * 3] * 2
    assert np.array_equal(whole[1], RAGGED[1])
    assert not whole[2].any()
    assert np.array_equal(found[-1], whole[2])
    assert np.array_equal(np.asarray(list(found)), whole)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((3, 4, 2)),
        [np.zeros((4, 2))] * 3,
        [None, None],
        [["a"], ["a", "b"]],
        "abc",
    ],
)
def test_other_frames_are_left_for_others_to_judge(given):
    assert frames(given, ids=IDS, where="x") is given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([np.zeros((4, 2)), np.zeros((3, 1))], "sample 'b' has 1 features per frame, .* 2"),
        ([[[1.0]], [[1.0], [1.0, 2.0]]], "rows of different shapes within sample 'b'"),
    ],
)
def test_frames_that_cannot_be_padded(given, message):
    with pytest.raises(DataError, match=message):
        frames(given, ids=IDS[:2], where="x")
