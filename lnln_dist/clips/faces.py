"""Faces by pip alone: the detector and the mesh of the MediaPipe wheel, run by OpenCV.

The two model files (BlazeFace short range, 0.2 MB; face mesh of 468 points, 1.2 MB; Apache-2.0)
are taken out of the wheel by ``launch/face_models.sh``, which checks its hash; they are hashed
again here, since a model file of unknown origin is not to be trusted. MediaPipe itself is not
needed.
"""

import hashlib
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from lnln_dist.clips.needs import library
from lnln_dist.errors import UserError
from lnln_dist.files import cache_folder

FOLDER = "LNLN_FACE_MODELS"  # environment variable: where the files are
FILES = {
    "face_detection_short_range.tflite": (
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
    ),
    "face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}
POINTS = 468
LEAST_SCORE = 0.5  # of the detector, and of the mesh's own "is this a face"
_DETECTOR_SIDE, _MESH_SIDE = 128, 192  # pixels
_MARGIN = 1.5  # the mesh looks at this multiple of the detected box

# Points of the mesh (its topology is published with the model).
RIGHT_EYE, LEFT_EYE = (33, 133, 159, 145), (263, 362, 386, 374)  # outer, inner, upper, lower
BROW = {"right": (105, 55), "left": (334, 285)}  # middle, inner end
LIPS = {"right": 61, "left": 291, "upper": 13, "lower": 14, "top": 0, "bottom": 17}
NOSE, CHIN, FOREHEAD = 2, 152, 10

GEOMETRY = (
    "yaw",
    "pitch",
    "roll",
    "centre-x",
    "centre-y",
    "size",
    "eye-open-right",
    "eye-open-left",
    "brow-right",
    "brow-left",
    "inner-brow-right",
    "inner-brow-left",
    "brow-distance",
    "mouth-width",
    "mouth-open",
    "lip-corner-right",
    "lip-corner-left",
    "nose-to-lip",
    "lip-to-chin",
)


class Face(NamedTuple):
    """The surest face of a picture."""

    points_KD: NDArray[np.float32]
    """[468, 3]: x, y in pixels of the picture, depth in the same scale."""
    score: float


def model_folder() -> Path:
    """Where the model files are.

    Raises:
        UserError: they are missing, or not those that are known.
    """
    folder = Path(os.environ.get(FOLDER) or cache_folder() / "faces").expanduser()
    for name, sha256 in FILES.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as err:
            raise UserError(
                f"{folder / name}: no such model file: fetch both with bash launch/face_models.sh "
                f"(from PyPI, checked), or say where they are with {FOLDER}=FOLDER, or choose "
                "--vision none or openface"
            ) from err
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(
                f"{folder / name}: not the file of the MediaPipe 0.10.21 wheel (its hash differs): "
                "remove it and run bash launch/face_models.sh"
            )
    return folder


def _anchors() -> NDArray[np.float32]:
    """Centres of the detector's 896 boxes, [896, 2], as shares of the side.

    Two boxes per cell of a 16 x 16 grid, then six per cell of 8 x 8.
    """
    parts = []
    for cells, boxes in ((16, 2), (8, 6)):
        at = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        y, x = np.meshgrid(at, at, indexing="ij")
        centres_ND = rearrange(np.stack([x, y]), "d h w -> (h w) d")
        parts.append(np.repeat(centres_ND, boxes, axis=0))
    return np.concatenate(parts)


class FaceFinder:
    """Finds the surest face of a picture and its mesh.

    Raises:
        UserError: OpenCV or the model files are missing.
    """

    def __init__(self) -> None:
        self._cv2 = library("cv2")
        self._cv2.setNumThreads(1)  # one process per core works on clips
        folder = model_folder()
        detector, mesh = (str(folder / name) for name in FILES)
        self._detector: Any = self._cv2.dnn.readNetFromTFLite(detector)
        self._mesh: Any = self._cv2.dnn.readNetFromTFLite(mesh)
        self._anchors = _anchors()

    def find(self, rgb_HWC: NDArray[np.uint8]) -> Face | None:
        """The surest face, or None."""
        found = self._detect(rgb_HWC)
        return None if found is None else self._fit(rgb_HWC, *found)

    def _detect(
        self, rgb_HWC: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], float, float] | None:
        """Centre [2], side and angle of the square that holds the surest face, in pixels."""
        cv2, (height, width) = self._cv2, rgb_HWC.shape[:2]
        side = max(height, width)
        # Letterboxed: the picture in the middle of a square.
        left, top = (side - width) / 2, (side - height) / 2
        scale = _DETECTOR_SIDE / side
        move = np.array([[scale, 0, left * scale], [0, scale, top * scale]], np.float32)
        square = cv2.warpAffine(
            rgb_HWC, move, (_DETECTOR_SIDE, _DETECTOR_SIDE), flags=cv2.INTER_AREA
        )
        self._detector.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5,) * 3))
        # By one name at a time: OpenCV gives several at once only where all are ends of the graph.
        boxes = self._detector.forward("regressors")
        scores = self._detector.forward("classificators")
        best = int(scores.reshape(-1).argmax())
        score = _sigmoid(float(scores.reshape(-1)[best]))
        if score < LEAST_SCORE:
            return None
        raw = boxes[0, best] / _DETECTOR_SIDE
        centre = ((raw[:2] + self._anchors[best]) * side - (left, top)).astype(np.float32)
        right_eye, left_eye = raw[4:6], raw[6:8]
        angle = math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])
        return centre, float(max(raw[2:4])) * side * _MARGIN, angle

    def _fit(
        self, rgb_HWC: NDArray[np.uint8], centre: NDArray[np.float32], side: float, angle: float
    ) -> Face | None:
        cv2 = self._cv2
        cos, sin = math.cos(angle) * _MESH_SIDE / side, math.sin(angle) * _MESH_SIDE / side
        turn = np.array([[cos, sin], [-sin, cos]], np.float32)
        shift = _MESH_SIDE / 2 - turn @ centre
        crop = cv2.warpAffine(
            rgb_HWC, np.column_stack([turn, shift]).astype(np.float32), (_MESH_SIDE, _MESH_SIDE)
        )
        self._mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        points, flag = self._mesh.forward("conv2d_21"), self._mesh.forward("conv2d_31")
        score = _sigmoid(float(flag.reshape(-1)[0]))
        if score < LEAST_SCORE:
            return None
        points_KD = rearrange(points.reshape(-1), "(k d) -> k d", k=POINTS).astype(np.float32)
        scale = side / _MESH_SIDE
        points_KD[:, :2] = (points_KD[:, :2] - shift) @ np.linalg.inv(turn).T
        points_KD[:, 2] *= scale
        return Face(points_KD, score)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-80.0, min(80.0, x))))


def aligned(points_KD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points about the middle of the eyes, turned level, in distances between the outer corners
    of the eyes, [468, 3]: what is left is the shape of the face.
    """
    right, left = points_KD[RIGHT_EYE[0]], points_KD[LEFT_EYE[0]]
    across = (left - right)[:2]
    unit = max(float(np.linalg.norm(across)), 1e-6)
    cos, sin = across / unit
    out_KD: NDArray[np.float32] = (points_KD - (left + right) / 2) / unit
    out_KD[:, :2] = out_KD[:, :2] @ np.array([[cos, -sin], [sin, cos]], np.float32)
    return out_KD


def landmarks(face: Face) -> NDArray[np.float32]:
    """X and y of the aligned points, [936]."""
    return np.ascontiguousarray(aligned(face.points_KD)[:, :2]).ravel()


def geometry(face: Face, height: int, width: int) -> NDArray[np.float32]:
    """The columns of ``GEOMETRY``, [19].

    Angles in radians: yaw is positive when the person turns to their left, pitch when they look
    up, roll when the head leans towards the picture's right. Centre and size are shares of the
    picture's width (height for y). Distances are in those between the outer corners of the eyes,
    heights positive upwards.
    """
    points_KD = face.points_KD
    across = points_KD[LEFT_EYE[0]] - points_KD[RIGHT_EYE[0]]
    up = points_KD[FOREHEAD] - points_KD[CHIN]
    ahead = np.cross(across, up)  # out of the face: depth falls towards the camera
    ahead /= max(float(np.linalg.norm(ahead)), 1e-6)
    shape_KD = aligned(points_KD)

    def apart(a: int, b: int) -> float:
        return float(np.linalg.norm(shape_KD[a, :2] - shape_KD[b, :2]))

    def above(a: int, b: int) -> float:
        return float(shape_KD[b, 1] - shape_KD[a, 1])

    mouth = (shape_KD[LIPS["upper"], 1] + shape_KD[LIPS["lower"], 1]) / 2
    centre = points_KD[:, :2].mean(axis=0)
    return np.array(
        [
            math.atan2(ahead[0], -ahead[2]),
            math.asin(float(np.clip(-ahead[1], -1, 1))),
            math.atan2(float(across[1]), float(across[0])),
            centre[0] / width,
            centre[1] / height,
            np.ptp(points_KD[:, 0]) / width,
            apart(RIGHT_EYE[2], RIGHT_EYE[3]),
            apart(LEFT_EYE[2], LEFT_EYE[3]),
            above(BROW["right"][0], RIGHT_EYE[2]),
            above(BROW["left"][0], LEFT_EYE[2]),
            above(BROW["right"][1], RIGHT_EYE[1]),
            above(BROW["left"][1], LEFT_EYE[1]),
            apart(BROW["right"][1], BROW["left"][1]),
            apart(LIPS["right"], LIPS["left"]),
            apart(LIPS["upper"], LIPS["lower"]),
            float(mouth - shape_KD[LIPS["right"], 1]),
            float(mouth - shape_KD[LIPS["left"], 1]),
            apart(NOSE, LIPS["top"]),
            apart(LIPS["bottom"], CHIN),
        ],
        dtype=np.float32,
    )
