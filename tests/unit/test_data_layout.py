"""What splits must have in common."""

import feature_files
import numpy as np
import pytest

from lnln_dist.data.layout import find_layout, shared_videos
from lnln_dist.data.mmsa import read_pickle
from lnln_dist.errors import DataError


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
    assert shared_videos(ids) == {"train/valid": 1, "train/test": 1, "valid/test": 1}
