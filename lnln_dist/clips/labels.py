"""The label file of a corpus: one row per clip, each checked before the first clip is opened."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from lnln_dist.data.schema import SplitName
from lnln_dist.data.values import ID_PARTS
from lnln_dist.errors import DataError

MEDIA = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".wav", ".mp3", ".flac", ".m4a", ".ogg")
SUBTITLES = (".srt", ".vtt")
REQUIRED = ("video_id", "clip_id", "label", "mode")


def _plain(name: str) -> str:
    if name in (".", "..") or PurePosixPath(name).name != name or "\\" in name or "\0" in name:
        raise ValueError("is part of a path: no / or .. in it")
    if ID_PARTS in name:
        raise ValueError(f"holds {ID_PARTS}, which joins video and clip")
    return name


def _number(text: object) -> object:
    return None if isinstance(text, str) and not text.strip() else text


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    Field(),
    BeforeValidator(lambda text: _plain(text.strip()) if isinstance(text, str) else text),
]
Label = Annotated[float, Field(allow_inf_nan=False)]
OptionalLabel = Annotated[Label | None, BeforeValidator(_number)]


class Clip(BaseModel):
    """A row of the label file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    video_id: Name
    clip_id: Name
    text: str = ""
    label: Label
    label_T: OptionalLabel = None
    label_A: OptionalLabel = None
    label_V: OptionalLabel = None
    mode: Literal["train", "valid", "test"]

    @property
    def id(self) -> str:
        """VIDEO$_$CLIP, as the public data sets name their samples."""
        return f"{self.video_id}{ID_PARTS}{self.clip_id}"

    @property
    def split(self) -> SplitName:
        """Where it belongs."""
        return self.mode


class Rejected(BaseModel):
    """A row or clip that was left out: its line in the label file (the header is 1), and why."""

    line: int
    id: str
    reason: str


class Accepted(BaseModel):
    """A row that can be extracted, with its files."""

    line: int
    clip: Clip
    media: Path | None
    """The clip; None if only its text is known."""
    subtitles: Path | None


def read_labels(
    path: Path, clips: Path, *, label_range: tuple[float, float]
) -> tuple[list[Accepted], list[Rejected]]:
    """Checks a label file and finds each row's files.

    Args:
        path: CSV with a header: ``video_id``, ``clip_id``, ``label``, ``mode`` (train, valid or
            test) and, where known, ``text``, ``label_T``, ``label_A``, ``label_V``; other columns
            (``annotation``, ...) are left unread.
        clips: folder with ``VIDEO_ID/CLIP_ID.mp4`` (or another suffix of ``MEDIA``), and
            ``VIDEO_ID/CLIP_ID.srt`` or ``.vtt`` where the text is not in the label file.
        label_range: of all labels.

    Returns:
        The rows to extract, and the others with the reason of each.

    Raises:
        DataError: the file cannot be read at all, or lacks a column.
    """
    accepted: list[Accepted] = []
    rejected: list[Rejected] = []
    seen: dict[str, int] = {}
    for line, row in _rows(path):
        name = f"{row.get('video_id') or ''}{ID_PARTS}{row.get('clip_id') or ''}"
        found = _check(row, clips, label_range)
        if isinstance(found, str):
            rejected.append(Rejected(line=line, id=name, reason=found))
            continue
        clip, media, subtitles = found
        if clip.id in seen:
            reason = f"the same video_id and clip_id as line {seen[clip.id]}"
            rejected.append(Rejected(line=line, id=clip.id, reason=reason))
            continue
        seen[clip.id] = line
        accepted.append(Accepted(line=line, clip=clip, media=media, subtitles=subtitles))
    return accepted, rejected


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        # With the mark that spreadsheets put in front of UTF-8.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = [name.strip() for name in reader.fieldnames or ()]
            if missing := [name for name in REQUIRED if name not in header]:
                raise DataError(
                    f"{path}: no column {', '.join(missing)} (found: {', '.join(header) or 'none'})"
                )
            reader.fieldnames = header
            for row in reader:
                yield reader.line_num, row
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not UTF-8 ({err.reason}): save it as UTF-8 CSV") from err
    except csv.Error as err:
        raise DataError(f"{path}: not a CSV file ({err})") from err
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err


def _check(
    row: dict[str, str], clips: Path, label_range: tuple[float, float]
) -> tuple[Clip, Path | None, Path | None] | str:
    """A row's clip and files, or why it is left out."""
    if None in row:
        return "more cells than the header has columns: quote texts that hold commas"
    try:
        clip = Clip.model_validate({k: v for k, v in row.items() if v is not None})
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return f"{field}: {first['msg'].removeprefix('Value error, ')} (found {first['input']!r})"
    low, high = label_range
    for name in ("label", "label_T", "label_A", "label_V"):
        value = getattr(clip, name)
        if value is not None and not (low <= value <= high and math.isfinite(value)):
            return f"{name} {value:g} is outside [{low:g}, {high:g}]"
    base = clips / clip.video_id
    media = next((p for s in MEDIA if (p := base / f"{clip.clip_id}{s}").is_file()), None)
    subtitles = next((p for s in SUBTITLES if (p := base / f"{clip.clip_id}{s}").is_file()), None)
    if media is None and subtitles is None and not clip.text.strip():
        return f"no clip {clip.video_id}/{clip.clip_id}.mp4 (or .wav, ...) and no text"
    for path in (media, subtitles):
        # A link in an untrusted folder must not lead out of it.
        if path is not None and not path.resolve().is_relative_to(clips.resolve()):
            return f"{path.relative_to(clips)} is a link out of the folder of clips"
    return clip, media, subtitles
