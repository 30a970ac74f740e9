"""Feature files: the fields in use of every split, by name, read without running anything.

``read_features`` takes whatever can be predicted; ``read_pickle`` what can be trained on, too.
"""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnln_dist.data.choices import UTF_8
from lnln_dist.data.foreign import find_splits, listed, split_fields
from lnln_dist.data.schema import FRAMES, SPLITS, FrameModality, LabelName, SourceInfo
from lnln_dist.data.source import HashedFile, open_source
from lnln_dist.data.unpickle import load_plain
from lnln_dist.data.values import (
    Unpadded,
    frames,
    label_numbers,
    rows,
    sample_ids,
    sentences,
    texts,
)
from lnln_dist.errors import DataError

LABELS: dict[LabelName, str] = {
    "label": "regression_labels",
    "label_text": "regression_labels_T",
    "label_audio": "regression_labels_A",
    "label_vision": "regression_labels_V",
}
# Fields with a row per sample that are looked at in any case; without ``id`` rows are numbered.
_ALWAYS = ("id", "audio", "vision", "audio_lengths", "vision_lengths")
_NO_WORDS = (
    "its text holds vectors, which no tokenizer can read: add the sentences as raw_text (from the "
    "data set's transcripts), or take the MMSA file of that data set, which has them"
)


@dataclass(slots=True)
class RawSplit:
    """One split as the file has it: arrays or lists with ``len(ids)`` rows each, unchecked."""

    ids: list[str]
    raw_text: list[str]  # empty strings where the file has none that can be used
    frames: dict[FrameModality, Any]  # [n, T, D]
    lengths: dict[FrameModality, Any]  # [n], None where the file gives none
    text_bert: Any | None  # [n, 3, T]: ids, attention mask, segments
    labels: dict[LabelName, Any]  # [n]
    unusable: dict[str, str]  # ``raw_text`` or ``text_bert``: why it cannot be used
    seconds: Any | None = None  # [n], length of each clip; None where the file gives none


@dataclass(slots=True)
class RawFile:
    """A feature file in memory; take splits out with ``pop`` to let go of them."""

    source: SourceInfo
    splits: dict[str, RawSplit]
    extraction: dict[str, dict[str, str]] | None = None  # how the features were made, if known
    no_clip: tuple[str, ...] = ()  # as ``Index.no_clip``


@dataclass(slots=True)
class FeatureFile:
    """The splits of a feature file, looked at one by one."""

    name: str  # of the file, for messages
    source: SourceInfo
    splits: dict[str, Any]  # as the file has them
    found: str  # the names in the file, for messages
    encoding: str  # of byte strings

    def take(self, split: str) -> RawSplit:
        """A split, which is then let go of: only the fields in use stay.

        Raises:
            DataError: no frames, no text at all, or fields of unequal length.
        """
        where = f"{self.name}: {listed([split])}"
        return _split(self.splits.pop(split), split, where, self.encoding)


def read_features(source: str | Path, *, encoding: str = UTF_8) -> FeatureFile:
    """Reads a feature file of any number of splits, labels or not.

    Args:
        source: a path, or a URI that fsspec can open.
        encoding: of byte strings, which Python 2 wrote.

    Raises:
        DataError: an unknown encoding; the file is missing, not a pickle, with code in it where
            it is read, or damaged.
    """
    try:
        b"-".decode(encoding, "replace")  # an empty one asks for no codec
    except (LookupError, UnicodeError) as err:
        raise DataError(f"--encoding {encoding}: no encoding of text that Python knows") from err
    name = str(source)
    with open_source(source) as file:
        hashed = HashedFile(file)
        content = load_plain(io.BufferedReader(hashed, 1 << 20), name=name)
        try:
            digest = hashed.finish()
        except OSError as err:
            raise DataError(f"{name}: cannot be read ({err.strerror or err})") from err
    short = name.rstrip("/").rsplit("/", 1)[-1]
    info = SourceInfo(name=short, sha256=digest, bytes=hashed.size)
    splits, found = find_splits(content, name)
    return FeatureFile(name=name, source=info, splits=splits, found=found, encoding=encoding)


def read_pickle(
    source: str | Path, *, label_column: int | None = None, encoding: str = UTF_8
) -> RawFile:
    """Reads a feature file to train on: three splits, all with ids of their own, text and labels.

    Args:
        source: a path, or a URI that fsspec can open.
        label_column: which of several labels per sample is the sentiment, from 0.
        encoding: of byte strings, which Python 2 wrote.

    Raises:
        DataError: as ``read_features``; without a needed split or field; ids that occur twice.
    """
    file = read_features(source, encoding=encoding)
    missing = [split for split in SPLITS if split not in file.splits]
    if missing:
        raise DataError(
            f"{file.name}: no split {', '.join(missing)} (found: {file.found}); the file needs "
            "train, valid and test"
        )
    splits: dict[str, RawSplit] = {}
    for split in SPLITS:
        where = f"{file.name}: {split}"
        splits[split] = found = file.take(split)
        for problem in found.unusable.values():
            raise DataError(problem)
        if "label" not in found.labels:
            raise DataError(f"{where}: no field {LABELS['label']}: training needs labels")
        sample, times = Counter(found.ids).most_common(1)[0]
        if times > 1:
            raise DataError(f"{where}: id {sample!r} occurs more than once: ids must be unique")
        for label, values in found.labels.items():
            found.labels[label] = label_numbers(
                values,
                ids=found.ids,
                column=label_column if label == "label" else None,
                where=f"{where}: {LABELS[label]}",
            )
    return RawFile(source=file.source, splits=splits)


def _split(content: Any, split: str, where: str, encoding: str) -> RawSplit:
    # Not emptied on the way: another split may be the same object.
    fields = {f: v for f, v in split_fields(content, where).items() if v is not None}
    missing = [m for m in FRAMES if m not in fields]
    if missing:
        raise DataError(f"{where}: no field {', '.join(missing)} (found: {listed(fields)})")
    first = "id" if "id" in fields else FRAMES[0]  # says how many samples there are
    size = rows(fields[first], f"{where}: {first}")
    if not size:
        raise DataError(f"{where}: the split is empty; every split needs samples")
    for field in _ALWAYS:
        if field in fields:
            _check_rows(fields, field, where)
    ids = [f"{split}-{row}" for row in range(size)]
    if "id" in fields:
        ids = sample_ids(fields["id"], f"{where}: id", encoding)
    unusable: dict[str, str] = {}
    text_bert, raw_text = fields.get("text_bert"), [""] * size
    try:
        if text_bert is not None:
            _check_rows(fields, "text_bert", where)
    except DataError as err:
        text_bert, unusable["text_bert"] = None, str(err)
    try:
        raw_text = _raw_text(fields, ids, where, encoding)
    except DataError as err:
        unusable["raw_text"] = str(err)
    if text_bert is None and "raw_text" in unusable:
        raise DataError(next(iter(unusable.values())))
    given = {m: frames(fields[m], ids=ids, where=f"{where}: {m}") for m in FRAMES}
    own = {m: v.lengths if isinstance(v, Unpadded) else None for m, v in given.items()}
    return RawSplit(
        ids=ids,
        raw_text=raw_text,
        frames=given,
        lengths={m: fields.get(f"{m}_lengths", own[m]) for m in FRAMES},
        text_bert=text_bert,
        labels={label: fields[f] for label, f in LABELS.items() if f in fields},
        unusable=unusable,
        seconds=fields.get("seconds"),
    )


def _check_rows(fields: dict[str, Any], field: str, where: str) -> int:
    """Rows of a field, which are as many as those of the ids, or of the first frames."""
    first, count = "id" if "id" in fields else FRAMES[0], rows(fields[field], f"{where}: {field}")
    if field != first and count != len(fields[first]):
        raise DataError(
            f"{where}: {field} has {count} rows, {first} has {len(fields[first])}: the fields of a "
            "split must have one row per sample"
        )
    return count


def _raw_text(fields: dict[str, Any], ids: Sequence[str], where: str, encoding: str) -> list[str]:
    field = "raw_text" if "raw_text" in fields else "words"
    if field not in fields:
        vectors = f"; {_NO_WORDS}" if "text" in fields and "text_bert" not in fields else ""
        raise DataError(f"{where}: no field raw_text (found: {listed(fields)}){vectors}")
    _check_rows(fields, field, where)
    read = texts if field == "raw_text" else sentences
    return read(fields[field], ids, f"{where}: {field}", encoding)
