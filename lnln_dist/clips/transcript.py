"""The words of a clip from its subtitles."""

import re
from pathlib import Path

from lnln_dist.clips.labels import readable
from lnln_dist.clips.needs import library
from lnln_dist.errors import DataError

_CUE_MARKS = re.compile(r"<[^>]*>|\{\\[^}]*\}")


def read_subtitles(path: Path) -> str:
    """The sentences of an .srt or .vtt file, one after another, without markup.

    Raises:
        DataError: not UTF-8, no subtitles, or control characters in them.
    """
    pysubs2 = library("pysubs2")
    try:
        subtitles = pysubs2.load(str(path), encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise DataError(f"{path.name}: not UTF-8: save it as UTF-8") from err
    except (pysubs2.exceptions.Pysubs2Error, ValueError) as err:
        raise DataError(f"{path.name}: no subtitles in it ({err})") from err
    except OSError as err:
        raise DataError(f"{path.name}: cannot be read ({err.strerror})") from err
    lines = [_CUE_MARKS.sub("", event.text).replace("\\N", " ") for event in subtitles]
    try:
        return readable(" ".join(" ".join(lines).split()))
    except ValueError as err:
        raise DataError(f"{path.name}: {err}") from err
