"""Prepared data read again from first to last byte: which shard is damaged, and how."""

from collections import Counter
from collections.abc import Callable, Iterator
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
from lnln_dist.data.writer import list_offsets, numbers, shard_schema
from lnln_dist.errors import DataError
from lnln_dist.files import sha256_file

REMEDY = "copy this file again from where it was prepared, or prepare the data again"


class Finding(NamedTuple):
    """Something wrong with one file of the prepared data."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def verify(
    path: str | Path, *, progress: Callable[[str, int, int], None] | None = None
) -> list[Finding]:
    """Hashes and reads all files of prepared data.

    Args:
        path: local folder or ``file://`` URI.
        progress: called after each shard with its file name, shards done and shards in all.

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
    findings = list(_tokenizer(folder, index))
    total, done = sum(len(split.shards) for split in index.splits.values()), 0
    for name in SPLITS:
        seen = _Seen(index, name)
        for shard in index.splits[name].shards:
            problem = _damage(folder, shard) or seen.read(folder, shard)
            if problem:
                findings.append(Finding(shard.file, problem))
            done += 1
            if progress is not None:
                progress(shard.file, done, total)
        if not any(f.file.startswith(f"{name}-") for f in findings):
            findings += seen.compare()
    return findings


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


class _Seen:
    """Reads the shards of a split and adds up what the index says of the whole."""

    def __init__(self, index: Index, name: SplitName) -> None:
        self._index, self._name = index, name
        self._schema = shard_schema(index.labels, index.widths)
        self._ids: set[str] = set()
        self._longest: Counter[Modality] = Counter()
        self._total: Counter[Modality] = Counter()

    def read(self, folder: Path, shard: ShardInfo) -> str:
        """What is wrong with the content of a shard whose bytes are as they were written."""
        try:
            for record in open_shard(folder, shard, self._schema):
                record.validate(full=True)
                problem = self._check(record)
                if problem:
                    return problem
        except (DataError, ValueError) as err:
            return str(err)
        return ""

    def _check(self, record: Any) -> str:
        index, columns = self._index, {n: record.column(n) for n in record.schema.names}
        low, high = index.label_range
        for label in index.labels:
            values = numbers(columns[label], np.float32)
            if not ((values >= low - TOLERANCE) & (values <= high + TOLERANCE)).all():
                return f"{label} holds values outside [{low:g}, {high:g}]"
        for column in FRAMES:
            if not np.isfinite(numbers(columns[column].values.values, np.float32)).all():
                return f"{column} holds values that are not finite"
        ids = numbers(columns["tokens"].values, np.int32)
        if (ids < 0).any() or (ids >= (index.tokenizer.vocab_size or 2**31)).any():
            return f"token ids outside the vocabulary of {index.tokenizer.vocab_size}"
        for m in MODALITIES:
            lengths = np.diff(list_offsets(columns["tokens" if m == "text" else m]))
            if lengths.min() < 1 or lengths.max() > index.padded_lengths[m]:
                return f"{m} has lengths outside 1 to {index.padded_lengths[m]}"
            self._longest[m] = max(self._longest[m], int(lengths.max()))
            self._total[m] += int(lengths.sum())
        if not np.array_equal(list_offsets(columns["segments"]), list_offsets(columns["tokens"])):
            return "segments and tokens differ in length"
        names = columns["id"].to_pylist()
        if len(set(names)) < len(names) or self._ids & set(names):
            return "sample ids occur more than once"
        self._ids |= set(names)
        return ""

    def compare(self) -> Iterator[Finding]:
        """Sums that differ from the index; only meaningful if every shard could be read."""
        info = self._index.splits[self._name]
        if dict(self._longest) != info.max_lengths or dict(self._total) != info.total_lengths:
            yield Finding(INDEX, f"the lengths of {self._name} are not those of its shards")
