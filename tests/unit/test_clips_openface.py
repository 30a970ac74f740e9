"""OpenFace's files: several faces, lost frames, names with blanks; and its program, pretended."""

import stat

import numpy as np
import pandas as pd
import pytest

from lnln_dist.clips import openface
from lnln_dist.errors import DataError, UserError

ALL = openface.SETS["openface-sims"]


def table(frames=6, faces=1, columns=ALL):
    """Frame k has k in all columns of its first face, 1000 more in those of the next."""
    rows = []
    for frame in range(1, frames + 1):
        for face in range(faces):
            head = {
                "frame": frame,
                "face_id": face,
                "timestamp": frame / 30,
                "confidence": 0.9 - 0.1 * face,
                "success": 1,
            }
            rows.append(head | dict.fromkeys(columns, frame + 1000.0 * face))
    return pd.DataFrame(rows)


def write(path, content):
    content.columns = [name if name == "frame" else f" {name}" for name in content]
    content.to_csv(path, index=False)
    return path


def test_the_numbers_of_columns():
    assert len(openface.GAZE) == 288
    assert len(openface.POSE) == 6
    assert len(openface.LANDMARKS) == 340
    assert len(openface.SHAPE) == 40
    assert len(openface.UNITS) == 35
    assert len(set(ALL)) == 709


def test_blanks_in_the_header_and_means_of_three(tmp_path):
    found = openface.read(write(tmp_path / "a.csv", table(7)))
    frames_TD = openface.frames(found, ALL, every=3)
    assert frames_TD.shape == (3, 709)
    # Frames 1 to 3, 4 to 6, and 7 alone.
    np.testing.assert_array_equal(frames_TD[:, 5], [2, 5, 7])


def test_the_surest_face_of_a_frame_counts():
    several = table(3, faces=2)
    several.loc[several.frame.eq(2) & several.face_id.eq(1), "confidence"] = 0.95
    frames_TD = openface.frames(several.sample(frac=1, random_state=0), ALL, every=1)
    np.testing.assert_array_equal(frames_TD[:, 0], [1, 1002, 3])


def test_lost_frames_are_missing_and_not_zero():
    lost = table(6)
    lost.loc[lost.frame.isin([2, 4, 5, 6]), "success"] = 0
    lost.loc[lost.success.eq(0), list(ALL)] = 0.0
    frames_TD = openface.frames(lost, ALL, every=3)
    np.testing.assert_array_equal(frames_TD[0], 2.0)  # of frames 1 and 3 alone
    assert np.isnan(frames_TD[1]).all()


def test_a_face_that_was_found_beats_a_surer_one_that_was_lost():
    both = table(1, faces=2)
    both.loc[0, ["confidence", "success"]] = [0.99, 0]
    assert openface.frames(both, ALL, every=1)[0, 0] == 1001


def test_what_is_no_file_of_openface(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"a\.csv: no column frame"):
        openface.read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="not a CSV file of OpenFace"):
        openface.read(path)
    with pytest.raises(DataError, match="no column AU01_r"):
        openface.frames(table(2, columns=openface.POSE), openface.UNITS, every=1)


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    def make(body):
        path = tmp_path / openface.PROGRAM
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(openface.VARIABLE, str(tmp_path))
        return tmp_path

    return make


def test_the_program_is_run_with_its_arguments(pretended):
    folder = pretended('[[ $1 == -f && $3 == -out_dir ]] && cp "${0%/*}/ready.csv" "$4/clip.csv"')
    write(folder / "ready.csv", table(2))
    found = openface.run(folder / "clip.mp4", openface.program())
    assert list(found.frame) == [1, 2]


def test_a_program_that_fails_says_why(pretended):
    folder = pretended("echo 'error while loading shared libraries: x.so' >&2; exit 127")
    with pytest.raises(DataError, match=r"ended with 127: error while loading shared libraries"):
        openface.run(folder / "clip.mp4", openface.program())


def test_no_program(monkeypatch, tmp_path):
    monkeypatch.setenv(openface.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"not on the PATH and not at .*nowhere"):
        openface.program()
