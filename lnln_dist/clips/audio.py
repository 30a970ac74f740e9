"""Descriptors of sound by librosa, one row per hop.

CH-SIMS describes sound by 33 columns at 22.05 kHz with a hop of 512: one known as "f0", 20 MFCC
(HTK's mel scale) and 12 chroma of the constant-Q transform. The code behind its "f0" takes the
rate of zero crossings; ``f0`` here is the fundamental frequency.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnln_dist.clips.needs import library
from lnln_dist.errors import ConfigError

RATE = 22_050  # Hz
HOP = 512  # samples
F0_RANGE = (65.0, 600.0)  # Hz, of speech
_FLOOR = 1e-10  # power of silence: -100 dB, not -inf

# librosa carries no types of its own.
Describe = Callable[[Any, NDArray[np.float32]], Any]


def _zero_crossings(librosa: Any, sound_S: NDArray[np.float32]) -> Any:
    return librosa.feature.zero_crossing_rate(sound_S, hop_length=HOP)


def _mfcc(librosa: Any, sound_S: NDArray[np.float32]) -> Any:
    return librosa.feature.mfcc(y=sound_S, sr=RATE, hop_length=HOP, n_mfcc=20, htk=True)


def _chroma(librosa: Any, sound_S: NDArray[np.float32]) -> Any:
    with warnings.catch_warnings():
        # Silence has no tuning, which librosa says and takes for 0.
        warnings.filterwarnings("ignore", message="Trying to estimate tuning")
        # Its lowest octaves are taken from few samples; librosa fills the rest with zeros.
        warnings.filterwarnings("ignore", message="n_fft=")
        return librosa.feature.chroma_cqt(y=sound_S, sr=RATE, hop_length=HOP)


def _log_mel(librosa: Any, sound_S: NDArray[np.float32]) -> Any:
    mel_DT = librosa.feature.melspectrogram(y=sound_S, sr=RATE, hop_length=HOP, n_mels=64)
    return np.log10(np.maximum(mel_DT, _FLOOR))


def _f0(librosa: Any, sound_S: NDArray[np.float32]) -> Any:
    """Fundamental frequency in Hz, 0 where nothing is voiced (probabilistic YIN)."""
    low, high = F0_RANGE
    f0_T, _, _ = librosa.pyin(sound_S, fmin=low, fmax=high, sr=RATE, hop_length=HOP)
    return np.nan_to_num(f0_T)[None]


def _loudness(librosa: Any, sound_S: NDArray[np.float32]) -> Any:
    rms_1T = librosa.feature.rms(y=sound_S, hop_length=HOP)
    return np.log10(np.maximum(np.square(rms_1T), _FLOOR))


DESCRIPTORS: dict[str, tuple[int, Describe]] = {
    "zero-crossings": (1, _zero_crossings),
    "mfcc": (20, _mfcc),
    "chroma": (12, _chroma),
    "log-mel": (64, _log_mel),
    "f0": (1, _f0),
    "loudness": (1, _loudness),
}
SIMS = ("zero-crossings", "mfcc", "chroma")
SETS = {"sims": SIMS, "sims-f0": ("f0", "mfcc", "chroma"), "log-mel": ("log-mel",)}


def columns(choice: str) -> tuple[str, ...]:
    """The descriptors of a set by name, or of names joined by commas.

    Raises:
        ConfigError: there is no such name.
    """
    names = SETS.get(choice) or tuple(part.strip() for part in choice.split(","))
    for name in names:
        if name not in DESCRIPTORS:
            raise ConfigError(
                f"--audio {choice}: no descriptor {name!r}; sets: {', '.join(SETS)}; descriptors: "
                f"{', '.join(DESCRIPTORS)}"
            )
    if len(set(names)) != len(names):
        raise ConfigError(f"--audio {choice}: a descriptor is named twice")
    return names


def width(names: tuple[str, ...]) -> int:
    """Columns of the descriptors together."""
    return sum(DESCRIPTORS[name][0] for name in names)


def describe(sound_S: NDArray[np.float32], names: tuple[str, ...]) -> NDArray[np.float32]:
    """Descriptors side by side, [T, D], T = 1 + S // hop; [0, D] for a clip without samples.

    Args:
        sound_S: mono samples at ``RATE``.
        names: of ``DESCRIPTORS``.
    """
    if not len(sound_S):
        return np.zeros((0, width(names)), np.float32)
    librosa = library("librosa")
    # The constant-Q transform asks for more samples than a very short clip has.
    places = 1 + len(sound_S) // HOP
    padded_S = np.pad(sound_S, (0, max(0, RATE // 2 - len(sound_S))))
    parts = [DESCRIPTORS[name][1](librosa, padded_S)[:, :places] for name in names]
    return np.ascontiguousarray(np.concatenate(parts).T, dtype=np.float32)
