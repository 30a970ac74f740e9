"""Prepared data read again from first to last byte: which shard is damaged, and how."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.remote import on_this_machine
from lnln_dist.data.repair import TOLERANCE
from lnln_dist.data.schema import (
    FRAMES,
    INDEX,
    SPLITS,
    Index,
    ShardInfo,
    SplitName,
    read_index,
)
from lnln_dist.data.shards import find_size_problem, open_shard
from lnln_dist.data.writer import Ragged, numbers, sequences, shard_schema
from lnln_dist.errors import DataError
from lnln_dist.files import sha256_file

REMEDY = "copy this file again from where it was prepared, or prepare the data again"


class Finding(NamedTuple):
    """Something wrong with one file of the prepared data."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def verify(path: str | Path) -> list[Finding]:
    """Hashes and reads all files of prepared data.

    Args:
        path: local folder or ``file://`` URI.

    Returns:
        What is wrong, by file; empty if the data is what ``prepare`` wrote.

    Raises:
        DataError: ``path`` is no folder of prepared data at all.
    """
    folder = on_this_machine(path)
    if not (folder / INDEX).is_file():
        read_index(folder)
    try:
        index = read_index(folder)
    except DataError as err:
        return [Finding(INDEX, str(err))]
    return [*_tokenizer(folder, index), *(f for n in SPLITS for f in _split(folder, index, n))]


def _damage(folder: Path, shard: ShardInfo) -> str:
    problem = find_size_problem(folder, shard)
    if problem:
        return f"{problem}; {REMEDY}"
    try:
        found = sha256_file(folder / shard.file)
    except OSError as err:
        return f"cannot be read ({err.strerror}); {REMEDY}"
    if found != shard.sha256:
        return f"damaged, its content is not what was written (SHA-256 differs); {REMEDY}"
    return ""


def _tokenizer(folder: Path, index: Index) -> Iterator[Finding]:
    if index.tokenizer.folder is None:
        return
    for name, sha256 in index.tokenizer.files.items():
        path = folder / index.tokenizer.folder / name
        shown = f"{index.tokenizer.folder}/{name}"
        if not path.is_file():
            yield Finding(shown, f"missing; {REMEDY}")
        elif sha256_file(path) != sha256:
            yield Finding(shown, f"changed since it was written (SHA-256 differs); {REMEDY}")


def _split(folder: Path, index: Index, name: SplitName) -> list[Finding]:
    """What is wrong with the shards of a split, or with what the index says of the whole."""
    findings: list[Finding] = []
    seen = index.splits[name].seen
    schema = shard_schema(index.labels, index.widths, seen)
    ids: set[str] = set()
    longest: Counter[Modality] = Counter()
    total: Counter[Modality] = Counter()
    for shard in index.splits[name].shards:
        problem = _damage(folder, shard)
        try:
            # Bytes as they were written may still hold what they should not.
            for record in () if problem else open_shard(folder, shard, schema):
                record.validate(full=True)
                columns = sequences(record, index.widths, seen)
                problem = _content(record, columns, index, ids) or _gaps(columns, seen, index)
                if problem:
                    break
                for m in MODALITIES:
                    longest[m] = max(longest[m], int(columns[m].lengths.max()))
                    total[m] += int(columns[m].lengths.sum())
        except (DataError, ValueError) as err:
            problem = str(err)
        if problem:
            findings.append(Finding(shard.file, problem))
    info = index.splits[name]
    if not findings and (dict(longest) != info.max_lengths or dict(total) != info.total_lengths):
        findings.append(Finding(INDEX, f"the lengths of {name} are not those of its shards"))
    return findings


def _gaps(columns: dict[str, Ragged], seen: Sequence[Modality], index: Index) -> str:
    """What is wrong with what a record batch says was there."""
    for m in seen:
        own, there = columns[m], columns[f"seen_{m}"]
        if not np.array_equal(there.offsets, own.offsets):
            return f"seen_{m} and {m} differ in length"
        lost_S = there.values == 0
        if (there.values[~lost_S] != 1).any():
            return f"seen_{m} holds other values than 0 and 1"
        if m == "text" and (lost_S[own.offsets[:-1]].any() or lost_S[own.offsets[1:] - 1].any()):
            return "the ends of a text, [CLS] and [SEP], are said not to be there"
        if (own.values[lost_S] != (index.tokenizer.unk_id if m == "text" else 0)).any():
            return f"{m} holds something where nothing was"
    return ""


def _content(record: Any, columns: dict[str, Ragged], index: Index, ids: set[str]) -> str:
    """What is wrong with a record batch; its ids join those seen before."""
    low, high = index.label_range
    for label in index.labels:
        values = numbers(record.column(label), np.float32)
        if not ((values >= low - TOLERANCE) & (values <= high + TOLERANCE)).all():
            return f"{label} holds values outside [{low:g}, {high:g}]"
    for m in FRAMES:
        if not np.isfinite(columns[m].values).all():
            return f"{m} holds values that are not finite"
    tokens = columns["text"].values
    if (tokens < 0).any() or (tokens >= (index.tokenizer.vocab_size or 2**31)).any():
        return f"token ids outside the vocabulary of {index.tokenizer.vocab_size}"
    for modality, most in index.padded_lengths.items():
        lengths_N = columns[modality].lengths
        if lengths_N.min() < 1 or lengths_N.max() > most:
            return f"{modality} has lengths outside 1 to {most}"
    if not np.array_equal(columns["segments"].offsets, columns["text"].offsets):
        return "segments and tokens differ in length"
    names = record.column("id").to_pylist()
    if len(set(names)) < len(names) or ids & set(names):
        return "sample ids occur more than once"
    ids |= set(names)
    return ""
