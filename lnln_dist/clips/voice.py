"""When somebody speaks, by silero-vad, whose wheel holds its weights."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnln_dist.clips import audio, media
from lnln_dist.clips.needs import SPEECH, library, missing
from lnln_dist.errors import UserError

RATE = 16_000  # Hz


def check() -> None:
    """Looks for the library, whose import would take this process's threads from torch.

    Raises:
        UserError: it is missing.
    """
    for name in ("silero_vad", "onnxruntime"):
        if find_spec(name) is None:
            raise UserError(missing(name, SPEECH))


@cache
def _model() -> Any:
    return library("silero_vad", SPEECH).load_silero_vad(onnx=True)


def spoken(clip: Path) -> list[tuple[float, float]]:
    """Begin and end, in seconds, of each stretch of speech.

    Stretches under 0.25 s are none, pauses under 0.1 s are part of one (the library's defaults).

    Raises:
        DataError: the sound is damaged.
    """
    sound_S = media.read_audio(clip, RATE)
    if sound_S is None or not len(sound_S):
        return []
    found = library("silero_vad", SPEECH).get_speech_timestamps(
        sound_S, _model(), sampling_rate=RATE
    )
    return [(part["start"] / RATE, part["end"] / RATE) for part in found]


def voiced(spans: list[tuple[float, float]], frames: int) -> NDArray[np.bool_]:
    """Which frames of ``audio.describe`` are spoken: their middles lie in a span, [T]."""
    at_T = np.arange(frames) * audio.HOP / audio.RATE
    found_T = np.zeros(frames, bool)
    for start, end in spans:
        found_T |= (at_T >= start) & (at_T <= end)
    return found_T
