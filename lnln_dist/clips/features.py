"""One clip to its features: what is looked for, and a file that keeps what was found."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.clips import audio, faces, media, openface, speech, voice
from lnln_dist.clips.choices import MESH, Extractor
from lnln_dist.clips.needs import library
from lnln_dist.clips.speech import Word
from lnln_dist.errors import DataError
from lnln_dist.files import atomic_write, sha256_file

SILENT = 1e-4  # of full scale (-80 dB): no track that never exceeds it holds a sound


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
    if extractor.voice_only:
        voice.check()
    if extractor.transcribe:
        speech.check()


@cache
def facts(extractor: Extractor) -> dict[str, dict[str, str]]:
    """Settings, versions of the tools and hashes of the model files, for the index."""
    tools = ["av"] + ["librosa"] * (extractor.audio != "none")
    models: dict[str, str] = {}
    if extractor.vision in MESH:
        tools.append("opencv-python-headless")
        models |= faces.FILES
    if extractor.voice_only:
        tools.append("silero-vad")
    if extractor.transcribe:
        tools.append("faster-whisper")
        models |= speech.check()
    settings = {k: str(v) for k, v in asdict(extractor).items() if k != "openface_csv"}
    return {
        "settings": settings,
        "versions": {name: _version(name) for name in tools},
        "models": models,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # another build of the same library
        return "unknown"


class Features(NamedTuple):
    """What was found in a clip. Frames without a face, or without a voice, are NaN throughout."""

    audio_TD: NDArray[np.float32]
    vision_TD: NDArray[np.float32]
    words: tuple[Word, ...]
    """What was recognised; none where nothing was asked for."""

    @property
    def text(self) -> str:
        """The words as a sentence."""
        return " ".join(word.text for word in self.words)


class Job(NamedTuple):
    """A clip to extract: its id and files."""

    id: str
    media: Path | None
    openface_csv: Path | None
    target: Path
    """Gets the features; exists only if it was written whole."""
    says_text: bool = True
    """Its text is known, so that nothing has to be recognised."""


@cache
def _finder() -> faces.FaceFinder:
    return faces.FaceFinder()


def key(clip: Path | None, table: Path | None, extractor: Extractor, *, says_text: bool) -> str:
    """Name of a clip's features: equal only for the same contents, settings and tool versions."""
    contents = [sha256_file(path) if path and path.is_file() else "" for path in (clip, table)]
    text = json.dumps([2, contents, facts(extractor), says_text], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def extract(job: Job, extractor: Extractor) -> None:
    """Writes a clip's features to ``job.target``.

    Raises:
        DataError: it cannot be decoded; the message says why.
    """
    from safetensors.numpy import save

    frames = {"audio": _sound(job, extractor), "vision": _pictures(job, extractor)}
    for found_TD in frames.values():
        lost_T = np.isnan(found_TD).all(axis=1)
        if not np.isfinite(found_TD[~lost_T]).all():
            raise DataError("features that are not finite")
    asked = extractor.transcribe and not job.says_text
    words = speech.recognise(job.media) if asked and job.media else ()
    said = np.frombuffer(json.dumps(words).encode(), np.uint8)
    atomic_write(job.target, save({**frames, "words": said}))


def read(path: Path) -> Features:
    """What ``extract`` has written."""
    from safetensors.numpy import load

    found = load(path.read_bytes())
    words = tuple(Word(*word) for word in json.loads(found["words"].tobytes()))
    return Features(found["audio"], found["vision"], words)


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
    found_TD = audio.describe(sound_S, audio.columns(extractor.audio))
    if extractor.voice_only:
        found_TD[~voice.voiced(voice.spoken(job.media), len(found_TD))] = np.nan
    return found_TD


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
