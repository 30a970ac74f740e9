"""Clips made on the spot: real pictures of a face, moved and hidden, and sounds or real speech."""

import csv
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


_SAID = (
    "this is the worst film I have ever seen",
    "I did not like it, it was dull and much too long",
    "it was a little weak in places",
    "there is a man, a house and a dog in it",
    "I quite liked the story and the people",
    "a good film, I would see it again",
    "I loved it, it was wonderful and great fun",
)


def write_corpus(folder: Path, sizes: dict[str, int]) -> list[tuple[str, str]]:
    """``labels.csv`` and ``clips/``: real speech and a real face, with what a user's data lack.

    How much is liked is heard in words, pitch and speed. Of each seven clips of a split, one has
    no sound track, one no face, one no text in the label file, and one its text as subtitles.

    Args:
        folder: gets them.
        sizes: good clips of train, valid and test.

    Returns:
        Ids of the bad rows in the order of the label file, with a part of the reason of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = []
    for split, count in sizes.items():
        for k in range(count):
            label, path = k % 7 - 3, folder / "clips" / split / f"{k}.mp4"
            said = _SAID[label + 3]
            sound_S = speech(said, folder, pitch=45 + 12 * label, speed=165 + 15 * label)
            seconds = len(sound_S) / 22_050
            lacks = (k + k // 7) % 7  # another label of each seven
            hidden = (0.0, seconds) if lacks == 1 else (0.4 * seconds, 0.6 * seconds)
            pictures = scene(seconds, rate=10, hidden=hidden, blur=k % 3)
            heard = None if lacks == 0 else sound_S
            write_clip(path, sound_S=heard, pictures=pictures, sound_rate=22_050, rate=10)
            if lacks == 3:
                path.with_suffix(".srt").write_text(f"1\n00:00:00,000 --> 00:00:09,000\n{said}\n")
            rows.append([split, k, "" if lacks in (2, 3) else said, label, split])
    (folder / "speech.wav").unlink()
    (folder / "clips" / "bad").mkdir()
    (folder / "clips" / "bad" / "cut.mp4").write_bytes(
        (folder / "clips" / "train" / "1.mp4").read_bytes()[:4000]
    )
    (folder / "clips" / "bad" / "noise.wav").write_bytes(b"RIFF" + bytes(range(256)) * 8)
    bad = [
        (["bad", "cut", "cut off", 1, "train"], "not a media file"),
        (["bad", "noise", "no sound", 1, "train"], "not a media file"),
        (["bad", "absent", "", 1, "test"], "no clip bad/absent.mp4"),
        (["bad", "label", "too high", 4, "test"], "label 4 is outside [-3, 3]"),
        (["bad", "mode", "some text", 1, "dev"], "mode: "),
        (["train", "0", "again", 1, "train"], "the same video_id and clip_id as line 2"),
        (["..", "x", "out of the folder", 1, "train"], "video_id: "),
    ]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "clip_id", "text", "label", "mode"])
        writer.writerows([*rows, *(row for row, _ in bad)])
    return [(f"{row[0]}$_${row[1]}", reason) for row, reason in bad]
