"""The label file of a corpus: one row per clip, each checked before the first clip is opened."""

import csv
import itertools
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from lnln_dist.data.schema import SPLITS, SplitName
from lnln_dist.data.values import ID_PARTS
from lnln_dist.errors import DataError

MEDIA = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".wav", ".mp3", ".flac", ".m4a", ".ogg")
SUBTITLES = (".srt", ".vtt")
REQUIRED = ("video_id", "clip_id", "label", "mode")
UTF_8 = "utf-8-sig"  # with the mark that spreadsheets put in front
SEPARATORS = ",;\t|"
MODES = frozenset(SPLITS)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def readable(text: str) -> str:
    """A text as it is, if it holds no control characters but tabs and ends of lines.

    Raises:
        ValueError: it does, such as NUL.
    """
    found = next((c for c in _CONTROL.findall(text) if c not in "\t\r\n"), None)
    if found is not None:
        raise ValueError(f"holds the control character U+{ord(found):04X}")
    return text


def _plain(name: str) -> str:
    if _CONTROL.search(name):
        raise ValueError("holds a control character")
    if name in (".", "..") or PurePosixPath(name).name != name or "\\" in name:
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
    text: Annotated[str, AfterValidator(readable)] = ""
    label: Label
    label_T: OptionalLabel = None
    label_A: OptionalLabel = None
    label_V: OptionalLabel = None
    mode: SplitName

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
    path: Path,
    clips: Path,
    *,
    label_range: tuple[float, float],
    encoding: str = UTF_8,
    tell: Callable[[str], object] = lambda _: None,
) -> tuple[list[Accepted], list[Rejected]]:
    """Checks a label file and finds each row's files.

    Args:
        path: CSV with a header: ``video_id``, ``clip_id``, ``label``, ``mode`` (train, valid or
            test) and, where known, ``text``, ``label_T``, ``label_A``, ``label_V``; other columns
            (``annotation``, ...) are left unread. Columns may be separated by any of
            ``SEPARATORS``: the first by which the header has the columns that must be there.
        clips: folder with ``VIDEO_ID/CLIP_ID.mp4`` (or another suffix of ``MEDIA``), and
            ``VIDEO_ID/CLIP_ID.srt`` or ``.vtt`` where the text is not in the label file.
        label_range: of all labels.
        encoding: of the file.
        tell: gets a line if the separator is no comma.

    Returns:
        The rows to extract, and the others with the reason of each.

    Raises:
        DataError: the file cannot be read at all, or lacks a column.
    """
    lines = _lines(path, encoding)
    header, separator = _header(lines, path)
    if separator != ",":
        tell(f"{path}: columns separated by {separator!r}")
    accepted: list[Accepted] = []
    rejected: list[Rejected] = []
    seen: dict[str, int] = {}
    for line, cells in _records(lines, header, separator):
        if isinstance(cells, str):
            found: tuple[Clip, Path | None, Path | None] | str = cells
            cells = lines[line - 1].split(separator)  # for its ids
        elif len(cells) > len(header):
            found = f"more cells than the header has columns: quote texts that hold {separator!r}"
        else:
            found = _check(dict(zip(header, cells, strict=False)), clips, label_range)
        ids = [dict(zip(header, cells, strict=False)).get(name, "") for name in REQUIRED[:2]]
        name = _CONTROL.sub("\ufffd", ID_PARTS.join(ids))
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


def _lines(path: Path, encoding: str) -> list[str]:
    try:
        with path.open(encoding=encoding, newline="") as file:
            return list(file)
    except UnicodeError as err:  # of UTF-16 without its mark, no UnicodeDecodeError
        reason = getattr(err, "reason", err)
        raise DataError(
            f"{path}: not {encoding.removesuffix('-sig')} ({reason}): name its encoding with "
            "--encoding (utf-8, utf-16, gb18030, cp1252, ...)"
        ) from err
    except LookupError as err:
        raise DataError(f"--encoding {encoding}: no encoding of texts that Python knows") from err
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err


def _header(lines: Sequence[str], path: Path) -> tuple[list[str], str]:
    """The columns' names, and what separates them."""
    found: list[list[str]] = []
    for separator in SEPARATORS:
        try:
            names = next(csv.reader(lines, delimiter=separator, strict=True), [])
        except csv.Error as err:
            raise DataError(f"{path}: no header of a CSV file in line 1 ({err})") from err
        found.append([name.strip() for name in names])
        if all(name in found[-1] for name in REQUIRED):
            return found[-1], separator
    missing = ", ".join(name for name in REQUIRED if name not in found[0])
    raise DataError(f"{path}: no column {missing} (found: {', '.join(found[0]) or 'none'})")


def _records(
    lines: Sequence[str], header: Sequence[str], separator: str
) -> Iterator[tuple[int, list[str] | str]]:
    """Each row's first line (the header's is 1) with its cells, or with why it cannot be read.

    A quote that is not closed takes the rows below into its cell, up to the next quote. Only its
    own line is given up: reading goes on with the one after it.
    """
    passed, line = 0, 1  # lines before those of the reader; where a record begins
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        try:
            cells: list[str] | str = next(reader)
            last = passed + reader.line_num
            is_row = [_is_row(lines[k], header, separator) for k in range(line - 1, last)]
            # The text may stand first or last: the ends of a cell of several lines are no proof.
            if any(is_row[1:-1]) or (last > line and is_row[0] and is_row[-1]):
                cells = _OPEN
        except StopIteration:
            return
        except csv.Error as err:
            several = passed + reader.line_num > line or "unexpected end" in str(err)
            cells = _OPEN if several else f'not CSV ({err}): write quotes within a text as ""'
        if isinstance(cells, str):
            passed = last = line
            rest = itertools.islice(lines, passed, None)
            reader = csv.reader(rest, delimiter=separator, strict=True)
        if cells and line > 1:
            yield line, cells
        line = last + 1


_OPEN = (
    "a quote opens in this line and is not closed where its text ends (quotes within a text are "
    'written as "")'
)


def _is_row(line: str, header: Sequence[str], separator: str) -> bool:
    """Whether a line looks like a row of its own: it has all cells, and a mode where it belongs."""
    cells, mode = [cell.strip() for cell in line.split(separator)], header.index("mode")
    from_the_end = mode - len(header)  # where separators in a text before it do not count
    return len(cells) >= len(header) and not MODES.isdisjoint((cells[mode], cells[from_the_end]))


def _check(
    row: dict[str, str], clips: Path, label_range: tuple[float, float]
) -> tuple[Clip, Path | None, Path | None] | str:
    """A row's clip and files, or why it is left out."""
    try:
        clip = Clip.model_validate(row)
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            return f"{field}: the row has too few cells"
        why, found = first["msg"].removeprefix("Value error, "), reprlib.repr(first["input"])
        return f"{field}: {why} (found {found})"
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
