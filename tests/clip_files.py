"""Clips made on the spot: real pictures of a face, moved and hidden, and sounds or real speech."""

import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000


def tone(seconds: float, pitch: float = 180.0, seed: int = 0) -> NDArray[np.float32]:
    """A voice-like sound, [S]: harmonics of a gliding pitch under a slow envelope."""
    at = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * at + seed))) / RATE
    sound = sum(np.sin(k * phase) / k for k in range(1, 6)) * (0.6 + 0.4 * np.sin(9 * at))
    return np.asarray(0.2 * sound, np.float32)


def speech(text: str, folder: Path, *, pitch: int = 50, speed: int = 160) -> NDArray[np.float32]:
    """Speech by espeak-ng, [S] at 22.05 kHz."""
    path = folder / "speech.wav"
    command = ["espeak-ng", "-w", str(path), "-p", str(pitch), "-s", str(speed), text]
    subprocess.run(command, check=True, capture_output=True)
    with wave.open(str(path)) as file:
        content = file.readframes(file.getnframes())
    return np.frombuffer(content, np.int16).astype(np.float32) / 32768


def has_espeak() -> bool:
    """Whether ``speech`` works here."""
    return shutil.which("espeak-ng") is not None


def portrait() -> NDArray[np.uint8]:
    """A photograph with a face, [H, W, 3] (NASA, public domain, out of scikit-image)."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:400, 40:440])


def scene(
    seconds: float, *, rate: int = 20, hidden: tuple[float, float] | None = None, blur: int = 0
) -> list[NDArray[np.uint8]]:
    """Pictures of the face moving and turning; black between the two times of ``hidden``."""
    import cv2

    face, out = portrait(), []
    for k in range(round(seconds * rate)):
        time_s = k / rate
        angle, shift = 8 * np.sin(2 * time_s), 25 * np.sin(1.3 * time_s)
        turn = cv2.getRotationMatrix2D((180, 120), angle, 0.9 + 0.1 * np.cos(time_s))
        turn[0, 2] += shift
        picture = cv2.warpAffine(face, turn, (320, 320), borderMode=cv2.BORDER_REFLECT)
        if blur:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        if hidden and hidden[0] <= time_s < hidden[1]:
            picture = np.zeros_like(picture)
        out.append(picture)
    return out


def write_clip(
    path: Path,
    *,
    sound_S: NDArray[np.float32] | None = None,
    pictures: list[NDArray[np.uint8]] | None = None,
    sound_rate: int = RATE,
    rate: int = 20,
) -> None:
    """Writes a media file; its kind follows the suffix."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video: Any = None
        if pictures is not None:
            video = container.add_stream("mpeg4", rate=rate)
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt, video.bit_rate = "yuv420p", 4_000_000
        audio: Any = None
        if sound_S is not None:
            kinds = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame"}
            codec = kinds.get(path.suffix, "aac")
            audio = container.add_stream(codec, rate=sound_rate, layout="mono")
        for picture in pictures or []:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode())
        if audio is not None and sound_S is not None:
            samples = (np.clip(sound_S, -1, 1) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = sound_rate
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
