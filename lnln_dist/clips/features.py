"""One clip to its features: what is looked for, and a file that keeps what was found."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.clips import audio, faces, media, openface
from lnln_dist.clips.choices import MESH, Extractor
from lnln_dist.clips.needs import library
from lnln_dist.errors import DataError
from lnln_dist.files import atomic_write, sha256_file


def check(extractor: Extractor) -> None:
    """Looks for the libraries, programs and model files before the first clip.

    Raises:
        UserError: one is missing.
    """
    library("av")
    library("pysubs2")
    if extractor.audio != "none":
        library("librosa")
    if extractor.vision in MESH:
        _finder()
    elif extractor.vision in openface.SETS and extractor.openface_csv is None:
        openface.program()


@cache
def facts(extractor: Extractor) -> dict[str, dict[str, str]]:
    """Settings, versions of the tools and hashes of the model files, for the index."""
    tools = ["av"] + ["librosa"] * (extractor.audio != "none")
    models: Mapping[str, str] = {}
    if extractor.vision in MESH:
        tools.append("opencv-python-headless")
        models = faces.FILES
    settings = {k: str(v) for k, v in asdict(extractor).items() if k != "openface_csv"}
    return {
        "settings": settings,
        "versions": {name: _version(name) for name in tools},
        "models": dict(models),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # another build of the same library
        return "unknown"


class Features(NamedTuple):
    """What was found in a clip. Frames in which no face was found are NaN throughout."""

    audio_TD: NDArray[np.float32]
    vision_TD: NDArray[np.float32]


class Job(NamedTuple):
    """A clip to extract: its id and files."""

    id: str
    media: Path | None
    openface_csv: Path | None
    target: Path
    """Gets the features; exists only if it was written whole."""


@cache
def _finder() -> faces.FaceFinder:
    return faces.FaceFinder()


def key(clip: Path | None, table: Path | None, extractor: Extractor) -> str:
    """Name of a clip's features: equal only for the same contents, settings and tool versions."""
    contents = [sha256_file(path) if path and path.is_file() else "" for path in (clip, table)]
    text = json.dumps([1, contents, facts(extractor)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def extract(job: Job, extractor: Extractor) -> None:
    """Writes a clip's features to ``job.target``.

    Raises:
        DataError: it cannot be decoded; the message says why.
    """
    from safetensors.numpy import save

    found = Features(_sound(job, extractor), _pictures(job, extractor))
    lost_T = np.isnan(found.vision_TD).all(axis=1)
    if not (np.isfinite(found.audio_TD).all() and np.isfinite(found.vision_TD[~lost_T]).all()):
        raise DataError("features that are not finite")
    atomic_write(job.target, save({"audio": found.audio_TD, "vision": found.vision_TD}))


def read(path: Path) -> Features:
    """What ``extract`` has written."""
    from safetensors.numpy import load

    found = load(path.read_bytes())
    return Features(found["audio"], found["vision"])


def dense(parts: Sequence[NDArray[np.float32]], width: int) -> list[NDArray[np.float32]]:
    """Frames of clips as feature files have them: what nobody saw is zero, none at all is one."""
    empty = np.zeros((1, width), np.float32)
    return [np.nan_to_num(part) if len(part) else empty for part in parts]


def _sound(job: Job, extractor: Extractor) -> NDArray[np.float32]:
    empty_TD = np.zeros((0, extractor.widths["audio"]), np.float32)
    if extractor.audio == "none" or job.media is None:
        return empty_TD
    sound_S = media.read_audio(job.media, audio.RATE)
    return empty_TD if sound_S is None else audio.describe(sound_S, audio.columns(extractor.audio))


def _pictures(job: Job, extractor: Extractor) -> NDArray[np.float32]:
    width = extractor.widths["vision"]
    rows: list[NDArray[np.float32]] = []
    if extractor.vision in openface.SETS:
        return _openface(job, extractor)
    if extractor.vision != "none" and job.media is not None:
        for picture in media.read_pictures(job.media, extractor.pictures_per_s):
            face = _finder().find(picture.rgb_HWC)
            height, across = picture.rgb_HWC.shape[:2]
            if face is None:
                rows.append(np.full(width, np.nan, np.float32))
            elif extractor.vision == "landmarks":
                rows.append(faces.landmarks(face))
            else:
                rows.append(faces.geometry(face, height, across))
    return np.stack(rows) if rows else np.zeros((0, width), np.float32)


def _openface(job: Job, extractor: Extractor) -> NDArray[np.float32]:
    columns = openface.SETS[extractor.vision]
    if extractor.openface_csv is not None:
        if job.openface_csv is None or not job.openface_csv.is_file():
            raise DataError("no CSV file of OpenFace for it in --openface-csv")
        table = openface.read(job.openface_csv)
    elif job.media is None:
        return np.zeros((0, len(columns)), np.float32)
    else:
        table = openface.run(job.media, openface.program())
    return openface.frames(table, columns, every=extractor.average)
