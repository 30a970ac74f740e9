"""One clip to its features: what is looked for, and a file that keeps what was found."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.clips import audio, faces, media, openface
from lnln_dist.clips.needs import library
from lnln_dist.errors import ConfigError, DataError
from lnln_dist.files import atomic_write, sha256_file

VISION = ("geometry", "landmarks", *openface.SETS, "none")
SILENT = 1e-4  # of full scale (-80 dB): no track that never exceeds it holds a sound
PICTURES_PER_S = 10.0  # as many vision frames; CH-SIMS: 30 pictures per second, three in one
_WIDTHS = {"geometry": len(faces.GEOMETRY), "landmarks": 2 * faces.POINTS, "none": 1}


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """What is looked for in a clip."""

    audio: str = "sims"
    """Set of ``audio.SETS``, descriptors joined by commas, or none."""
    vision: str = "geometry"
    """geometry, landmarks (MediaPipe's mesh), a set of ``openface.SETS``, or none."""
    pictures_per_s: float = PICTURES_PER_S
    """Vision frames per second, for geometry and landmarks."""
    average: int = 3
    """Frames of a video that become one vision frame, for OpenFace."""
    openface_csv: str | None = None
    """Folder of CSV files that OpenFace has written, ``VIDEO_ID/CLIP_ID.csv``; None: run it."""

    def __post_init__(self) -> None:
        if self.audio != "none":
            audio.columns(self.audio)
        if self.vision not in VISION:
            raise ConfigError(f"--vision {self.vision}: choose {', '.join(VISION)}")
        if not 0 < self.pictures_per_s <= 120:
            raise ConfigError(f"--pictures-per-s {self.pictures_per_s}: between 0 and 120")
        if self.average < 1:
            raise ConfigError(f"--average {self.average}: at least 1")
        by_openface = self.vision in openface.SETS
        if self.openface_csv is not None and not by_openface:
            raise ConfigError(
                f"--openface-csv has no effect with --vision {self.vision}: choose "
                f"{' or '.join(openface.SETS)}"
            )

    @property
    def widths(self) -> dict[Literal["audio", "vision"], int]:
        """Features per frame; a modality that is not looked for has one, which is 0."""
        sound = 1 if self.audio == "none" else audio.width(audio.columns(self.audio))
        seen = _WIDTHS.get(self.vision)
        return {"audio": sound, "vision": seen or len(openface.SETS[self.vision])}

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> "Extractor":
        """As noted by ``facts``."""
        return cls(
            audio=settings["audio"],
            vision=settings["vision"],
            pictures_per_s=float(settings["pictures_per_s"]),
            average=int(settings["average"]),
        )

    def check(self) -> None:
        """Looks for the libraries, programs and model files before the first clip.

        Raises:
            UserError: one is missing.
        """
        library("av")
        library("pysubs2")
        if self.audio != "none":
            library("librosa")
        if self.vision in ("geometry", "landmarks"):
            _finder()
        elif self.vision in openface.SETS and self.openface_csv is None:
            openface.program()

    def facts(self) -> dict[str, dict[str, str]]:
        """Settings, versions of the tools and hashes of the model files, for the index."""
        tools = ["av"] + ["librosa"] * (self.audio != "none")
        models: Mapping[str, str] = {}
        if self.vision in ("geometry", "landmarks"):
            tools.append("opencv-python-headless")
            models = faces.FILES
        settings = {k: str(v) for k, v in asdict(self).items() if k != "openface_csv"}
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
    text = json.dumps([1, contents, extractor.facts()], sort_keys=True)
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
    """Frames of clips for the importer: NaN is one that nobody saw, none at all is such a one."""
    empty = np.full((1, width), np.nan, np.float32)
    return [part if len(part) else empty for part in parts]


def _sound(job: Job, extractor: Extractor) -> NDArray[np.float32]:
    empty_TD = np.zeros((0, extractor.widths["audio"]), np.float32)
    if extractor.audio == "none" or job.media is None:
        return empty_TD
    sound_S = media.read_audio(job.media, audio.RATE)
    if sound_S is None or not (np.abs(sound_S) > SILENT).any():
        return empty_TD  # a muted track says as little as none
    return audio.describe(sound_S, audio.columns(extractor.audio))


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
