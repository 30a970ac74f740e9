"""Decoding by PyAV: the sound of a clip as mono samples, its pictures at a fixed rate."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.clips.needs import library
from lnln_dist.errors import DataError


class Picture(NamedTuple):
    """A frame of a video."""

    time_s: float
    rgb_HWC: NDArray[np.uint8]


def read_audio(path: Path, rate: int) -> NDArray[np.float32] | None:
    """Mono samples in [-1, 1], [S], at ``rate`` Hz; None if the clip has no sound track.

    Raises:
        DataError: not a media file, or damaged.
    """
    av = library("av")
    parts: list[NDArray[np.float32]] = []
    with _opened(path) as container:
        if not container.streams.audio:
            return None
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        for frame in _decoded(container, container.streams.audio[0]):
            frame.pts = None  # gaps in the times of a file must not become errors here
            parts.extend(part.to_ndarray().reshape(-1) for part in resampler.resample(frame))
        parts.extend(part.to_ndarray().reshape(-1) for part in resampler.resample(None))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def read_pictures(path: Path, rate: float) -> Iterator[Picture]:
    """The frames shown at 0, 1/rate, 2/rate, ... seconds; none if the clip has no pictures.

    Raises:
        DataError: not a media file, or damaged.
    """
    with _opened(path) as container:
        if not container.streams.video:
            return
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # clips are decoded side by side, one per process
        wanted, first, at_s, last = 0, None, 0.0, None
        for frame in _decoded(container, stream):
            first = float(frame.time or 0.0) if first is None else first
            at_s = float(frame.time or 0.0) - first + 1e-6
            # A picture stays until the next one: the one before is what was shown at that time.
            while last is not None and wanted / rate < at_s - 2e-6:
                yield Picture(wanted / rate, last)
                wanted += 1
            last = frame.to_ndarray(format="rgb24")
        if last is not None and wanted / rate < at_s:
            yield Picture(wanted / rate, last)


def duration(path: Path) -> float:
    """Seconds that a clip takes; 0 if its file does not say.

    Raises:
        DataError: not a media file.
    """
    with _opened(path) as container:
        return float(container.duration or 0) / 1e6


def _opened(path: Path) -> Any:
    av = library("av")
    try:
        return av.open(str(path), metadata_errors="ignore")
    except (av.FFmpegError, OSError) as err:
        raise DataError(f"not a media file that can be opened ({_why(err)})") from err


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    av = library("av")
    try:
        yield from container.decode(stream)
    except av.EOFError:
        return
    except (av.FFmpegError, OSError, ValueError) as err:
        raise DataError(f"damaged {stream.type} track ({_why(err)})") from err


def _why(err: Exception) -> str:
    return str(getattr(err, "strerror", None) or err).split(":")[0] or type(err).__name__
