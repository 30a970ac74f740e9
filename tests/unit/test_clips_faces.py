"""Faces: the mesh follows a picture that is turned, moved and mirrored by known amounts."""

import numpy as np
import pytest
from clip_files import portrait

from lnln_dist.clips import faces
from lnln_dist.errors import UserError

cv2 = pytest.importorskip("cv2")
pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def finder():
    try:
        return faces.FaceFinder()
    except UserError as err:
        pytest.skip(str(err))


@pytest.fixture(scope="module")
def face(finder):
    return finder.find(portrait())


def test_a_face_is_where_it_is(face):
    assert face.score > 0.9
    low, high = face.points_KD.min(axis=0), face.points_KD.max(axis=0)
    # By eye: hair line to chin, ear to ear.
    np.testing.assert_allclose([*low[:2], *high[:2]], [139, 73, 231, 176], atol=6)


@pytest.mark.parametrize(("angle", "scale"), [(25, 0.8), (-15, 1.1), (5, 0.6)])
def test_points_follow_the_picture(finder, face, angle, scale):
    turn = cv2.getRotationMatrix2D((185, 125), angle, scale)
    turned = finder.find(cv2.warpAffine(portrait(), turn, (400, 400)))
    wanted = face.points_KD[:, :2] @ turn[:, :2].T + turn[:, 2]
    off = np.linalg.norm(turned.points_KD[:, :2] - wanted, axis=1)
    assert off.mean() < 0.02 * np.ptp(wanted[:, 0])  # of the width of the face
    # The shape is that of the same face, whatever its place in the picture.
    shape = np.abs(faces.landmarks(turned) - faces.landmarks(face)).mean()
    assert shape < 0.03
    columns = dict(zip(faces.GEOMETRY, faces.geometry(turned, 400, 400), strict=True))
    before = dict(zip(faces.GEOMETRY, faces.geometry(face, 400, 400), strict=True))
    assert abs(columns["roll"] - before["roll"] + np.radians(angle)) < 0.05
    assert abs(columns["size"] / before["size"] - scale) < 0.12


def test_a_mirrored_face_swaps_its_sides(finder, face):
    mirrored = finder.find(np.ascontiguousarray(portrait()[:, ::-1]))
    a = dict(zip(faces.GEOMETRY, faces.geometry(face, 400, 400), strict=True))
    b = dict(zip(faces.GEOMETRY, faces.geometry(mirrored, 400, 400), strict=True))
    assert abs(a["centre-x"] + b["centre-x"] - 1) < 0.02
    for name in ("eye-open", "brow", "inner-brow", "lip-corner"):
        assert abs(a[f"{name}-right"] - b[f"{name}-left"]) < 0.03
    assert abs(a["yaw"] + b["yaw"]) < 0.06
    assert a["mouth-open"] > 0.08  # she smiles, with teeth


def test_yaw_and_pitch_have_the_stated_signs(face):
    # Turned about the vertical axis towards the person's left, which is right in the picture.
    points_KD = face.points_KD - face.points_KD.mean(axis=0)
    base = faces.geometry(face, 400, 400)[:2]
    c, s = np.cos(0.3), np.sin(0.3)
    left = points_KD @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    up = points_KD @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)
    assert faces.geometry(faces.Face(left, 1.0), 400, 400)[0] - base[0] == pytest.approx(
        0.3, abs=0.05
    )
    assert faces.geometry(faces.Face(up, 1.0), 400, 400)[1] - base[1] == pytest.approx(
        0.3, abs=0.05
    )


def test_no_face(finder):
    assert finder.find(np.zeros((240, 320, 3), np.uint8)) is None
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    assert finder.find(noise) is None


def test_the_boxes_of_the_detector():
    anchors = faces._anchors()
    assert anchors.shape == (896, 2)
    np.testing.assert_allclose(
        anchors[[0, 1, 2, 512]], [[1 / 32] * 2] * 2 + [[3 / 32, 1 / 32]] + [[1 / 16] * 2]
    )


def test_model_files_that_are_missing_or_others(tmp_path, monkeypatch):
    monkeypatch.setenv(faces.FOLDER, str(tmp_path))
    with pytest.raises(UserError, match=r"bash launch/face_models\.sh"):
        faces.model_folder()
    for name in faces.FILES:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(UserError, match="its hash differs"):
        faces.model_folder()
