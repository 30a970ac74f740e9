"""MMSA feature files: the fields in use of every split, by name, read without running anything."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lnln_dist.data.schema import FRAMES, SPLITS, FrameModality, LabelName, SourceInfo, SplitName
from lnln_dist.data.source import HashedFile, open_source
from lnln_dist.data.unpickle import load_plain
from lnln_dist.errors import DataError

LABELS: dict[LabelName, str] = {
    "label": "regression_labels",
    "label_text": "regression_labels_T",
    "label_audio": "regression_labels_A",
    "label_vision": "regression_labels_V",
}
REQUIRED = ("id", "raw_text", "audio", "vision", "regression_labels")
KNOWN = (*REQUIRED, "text_bert", "audio_lengths", "vision_lengths", *list(LABELS.values())[1:])


@dataclass(slots=True)
class RawSplit:
    """One split as the file has it: arrays or lists with ``len(ids)`` rows each, unchecked."""

    ids: list[str]
    raw_text: list[str]
    frames: dict[FrameModality, Any]  # [n, T, D]
    lengths: dict[FrameModality, Any]  # [n], None where the file gives none
    text_bert: Any | None  # [n, 3, T]: ids, attention mask, segments
    labels: dict[LabelName, Any]  # [n]


@dataclass(slots=True)
class RawFile:
    """A feature file in memory; take splits out with ``pop`` to let go of them."""

    source: SourceInfo
    splits: dict[SplitName, RawSplit]


def read_pickle(source: str | Path) -> RawFile:
    """Reads a feature file; fields that are not used are let go of at once.

    Args:
        source: a path, or a URI that fsspec can open.

    Raises:
        DataError: missing, not a pickle, with code in it, damaged, or without a needed split
            or field; fields of unequal length.
    """
    name = str(source)
    with open_source(source) as file:
        content, info = _load(file, name)
    if not isinstance(content, dict):
        raise DataError(
            f"{name}: holds a {type(content).__name__}, not a dict with train, valid and test"
        )
    content = _by_name(content)
    missing = [split for split in SPLITS if split not in content]
    if missing:
        raise DataError(
            f"{name}: no split {', '.join(missing)} (found: {', '.join(content) or 'nothing'}); "
            "the file needs train, valid and test"
        )
    # Taken out one by one: what is not used is gone before the next split is looked at.
    return RawFile(
        source=info,
        splits={split: _split(content.pop(split), f"{name}: {split}") for split in SPLITS},
    )


def _load(file: BinaryIO, name: str) -> tuple[Any, SourceInfo]:
    hashed = HashedFile(file)
    content = load_plain(io.BufferedReader(hashed, 1 << 20), name=name)
    try:
        digest = hashed.finish()
    except OSError as err:
        raise DataError(f"{name}: cannot be read ({err.strerror or err})") from err
    short = name.rstrip("/").rsplit("/", 1)[-1]
    return content, SourceInfo(name=short, sha256=digest, bytes=hashed.size)


def _split(content: Any, where: str) -> RawSplit:
    if not isinstance(content, dict):
        raise DataError(f"{where}: holds a {type(content).__name__}, not a dict of fields")
    fields = _by_name(content)
    content.clear()
    missing = [field for field in REQUIRED if fields.get(field) is None]
    if missing:
        raise DataError(
            f"{where}: no field {', '.join(missing)} (found: {', '.join(fields) or 'nothing'})"
        )
    rows = {f: _rows(v, f"{where}: {f}") for f in KNOWN if (v := fields.get(f)) is not None}
    if not rows["id"]:
        raise DataError(f"{where}: the split is empty; every split needs samples")
    for field, count in rows.items():
        if count != rows["id"]:
            raise DataError(
                f"{where}: {field} has {count} rows, id has {rows['id']}: the fields of a split "
                "must have one row per sample"
            )
    ids = _texts(fields["id"], f"{where}: id")
    _refuse_duplicates(ids, where)
    return RawSplit(
        ids=ids,
        raw_text=_texts(fields["raw_text"], f"{where}: raw_text"),
        frames={m: fields[m] for m in FRAMES},
        lengths={m: fields.get(f"{m}_lengths") for m in FRAMES},
        text_bert=fields.get("text_bert"),
        labels={label: fields[f] for label, f in LABELS.items() if fields.get(f) is not None},
    )


def _refuse_duplicates(ids: Sequence[str], where: str) -> None:
    seen: set[str] = set()
    for sample in ids:
        if sample in seen:
            raise DataError(f"{where}: id {sample!r} occurs more than once: ids must be unique")
        seen.add(sample)


def _by_name(content: dict[Any, Any]) -> dict[str, Any]:
    return {_text(k) if isinstance(k, str | bytes) else repr(k): v for k, v in content.items()}


def _rows(value: Any, where: str) -> int:
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return len(value)
    raise DataError(f"{where} is a {type(value).__name__}, not an array or list of samples")


def _texts(values: Any, where: str) -> list[str]:
    """One string per row of an array or list."""
    if isinstance(values, np.ndarray):
        if values.size != len(values):
            raise DataError(f"{where} has the shape {values.shape}, not one string per sample")
        values = values.ravel().tolist()
    try:
        return [_text(value) for value in values]
    except TypeError as err:
        raise DataError(f"{where} {err}, not one string per sample") from err


def _text(value: Any) -> str:
    """A string of Python 3, of Python 2 (bytes), or the digits of a whole number."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin1")
    if isinstance(value, str):
        # Lone surrogates cannot be written as UTF-8.
        return str(value).encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise TypeError(f"holds a {type(value).__name__}")
