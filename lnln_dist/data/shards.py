"""Prepared data opened for reading: memory-mapped files behind one lookup of rows.

Features and tokens are never copied: every access is a view of the mapped file, which all
processes of a host share through the page cache. Labels and lengths (28 bytes a row) are kept.
"""

import bisect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.remote import on_this_machine
from lnln_dist.data.schema import (
    FrameModality,
    Index,
    LabelName,
    ShardInfo,
    SplitName,
    read_index,
)
from lnln_dist.data.writer import Ragged, numbers, sequences, shard_schema
from lnln_dist.errors import DataError


class _Batch(NamedTuple):
    """One record batch."""

    record: Any
    sequences: dict[str, Ragged]


class _Opened(NamedTuple):
    """All record batches of a split and the first row of each."""

    starts: list[int]
    batches: list[_Batch]


class Split:
    """The samples of one split by row number.

    Picklable and safe to fork: another process maps the files for itself.

    Args:
        folder: of the prepared data.
        name: train, valid or test.
        index: of the prepared data.

    Raises:
        DataError: a shard is damaged; found at the first access.
    """

    def __init__(self, folder: Path, name: SplitName, index: Index) -> None:
        self.name: SplitName = name
        self._folder, self._index = folder, index
        self._info = index.splits[name]
        self._opened: _Opened | None = None
        self._columns: dict[LabelName, NDArray[np.float32]] = {}
        self._lengths: dict[Modality, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return self._info.rows

    def __getstate__(self) -> dict[str, Any]:
        # Views of mapped memory would be copied into the pickle.
        return {"name": self.name, "folder": self._folder, "index": self._index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], state["name"], state["index"])  # type: ignore[misc]

    @property
    def ids(self) -> list[str]:
        """Sample ids in row order; made anew at each access."""
        batches = self._open().batches
        return [sample for batch in batches for sample in batch.record.column("id").to_pylist()]

    @property
    def labels(self) -> NDArray[np.float32]:
        """The label to predict, [n]."""
        return self.label("label")

    def label(self, name: LabelName) -> NDArray[np.float32]:
        """A label column, [n]; CH-SIMS has ``label_text``, ``label_audio``, ``label_vision`` too.

        Raises:
            DataError: the data has no such column.
        """
        if name not in self._index.labels:
            raise DataError(f"no column {name} in the data, only {', '.join(self._index.labels)}")
        if name not in self._columns:
            parts = [
                numbers(batch.record.column(name), np.float32) for batch in self._open().batches
            ]
            self._columns[name] = np.concatenate(parts)
        return self._columns[name]

    @property
    def lengths(self) -> Mapping[Modality, NDArray[np.int64]]:
        """Valid places of each row, [n] per modality, at least 1."""
        if not self._lengths:
            self._lengths = {
                m: np.concatenate([batch.sequences[m].lengths for batch in self._open().batches])
                for m in MODALITIES
            }
        return self._lengths

    def tokens(self, row: int) -> NDArray[np.int32]:
        """Token ids of a row, [L], read-only."""
        return self._row("text", row)

    def segments(self, row: int) -> NDArray[np.int8]:
        """Segment ids of a row, [L], read-only."""
        return self._row("segments", row)

    def frames(self, modality: FrameModality, row: int) -> NDArray[np.float32]:
        """Features of a row, [L, D], a read-only view of the file."""
        return self._row(modality, row)

    def seen(self, modality: Modality, row: int) -> NDArray[np.bool_] | None:
        """Places of a row that were there, [L]; None where the split has no gaps in it."""
        if modality not in self._info.seen:
            return None
        there: NDArray[np.bool_] = self._row(f"seen_{modality}", row) != 0
        return there

    def _row(self, name: str, row: int) -> NDArray[Any]:
        batch, at = self._locate(row)
        offsets, values = batch.sequences[name]
        return values[offsets[at] : offsets[at + 1]]

    def raw_text(self, row: int) -> str:
        """The sentence of a row."""
        batch, at = self._locate(row)
        return str(batch.record.column("raw_text")[at].as_py())

    def _locate(self, row: int) -> tuple[_Batch, int]:
        opened = self._opened or self._open()
        if not 0 <= row < self._info.rows:
            raise IndexError(f"row {row} of {self._info.rows}")
        number = bisect.bisect_right(opened.starts, row) - 1
        return opened.batches[number], row - opened.starts[number]

    def _open(self) -> _Opened:
        if self._opened is None:
            schema = shard_schema(self._index.labels, self._index.widths, self._info.seen)
            starts, batches, rows = [], [], 0
            for shard in self._info.shards:
                for record in open_shard(self._folder, shard, schema):
                    starts.append(rows)
                    batches.append(self._view(record, shard))
                    rows += record.num_rows
            self._opened = _Opened(starts, batches)
        return self._opened

    def _view(self, record: Any, shard: ShardInfo) -> _Batch:
        try:
            # Offsets and sentences only, no features: a wild offset would end the process.
            record.validate(full=True)
            found = sequences(record, self._index.widths, self._info.seen)
            for name, sequence in found.items():
                if sequence.lengths.min() < 1:
                    raise ValueError(f"{name} has impossible lengths")
            for m in self._info.seen:
                if not np.array_equal(found[f"seen_{m}"].offsets, found[m].offsets):
                    raise ValueError(f"seen_{m} and {m} differ in length")
        except (pa.ArrowException, ValueError, IndexError) as err:
            raise DataError(
                f"{self._folder / shard.file}: the shard is damaged ({err!s:.80}): run lnln-dist "
                f"verify {self._folder}"
            ) from err
        return _Batch(record, found)


def open_shard(folder: Path, shard: ShardInfo, schema: Any) -> list[Any]:
    """Maps a shard and returns its record batches, without copying or reading their values.

    Raises:
        DataError: it cannot be read, or has other columns or rows than the index says.
    """
    path = folder / shard.file
    remedy = f"run lnln-dist verify {folder}"
    try:
        # One thread: nothing is decompressed, and a thread pool would not survive a fork.
        options = pa.ipc.IpcReadOptions(use_threads=False)
        reader = pa.ipc.open_file(pa.memory_map(str(path)), options=options)
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    except (pa.ArrowException, OSError, ValueError) as err:
        why = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise DataError(f"{path}: the shard cannot be read ({why:.80}): {remedy}") from err
    if not reader.schema.equals(schema):
        raise DataError(f"{path}: the shard has other columns than the index says: {remedy}")
    rows = sum(batch.num_rows for batch in batches)
    if rows != shard.rows:
        raise DataError(f"{path}: the shard has {rows} rows, the index says {shard.rows}: {remedy}")
    return batches


class ShardedDataset:
    """A folder of prepared data.

    Args:
        folder: local folder.
        index: its index.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder, index
        self._splits: dict[str, Split] = {}

    def split(self, name: SplitName | str) -> Split:
        """A split: train, valid or test; the same object at each call.

        Raises:
            DataError: no such split.
        """
        if name not in self.index.splits:
            raise DataError(f"no split {name!r}; choose one of {', '.join(self.index.splits)}")
        if name not in self._splits:
            self._splits[name] = Split(self.folder, name, self.index)
        return self._splits[name]

    @property
    def tokenizer_folder(self) -> Path | None:
        """Files of the tokenizer, or None if the data came with ids only."""
        name = self.index.tokenizer.folder
        return None if name is None else self.folder / name


def open_dataset(path: str | Path) -> ShardedDataset:
    """Opens prepared data after checks that cost nothing: the index, file names and sizes.

    Args:
        path: folder or URI of one, which is copied to this machine first (``remote``).

    Raises:
        DataError: not prepared data, or a shard is missing, cut short, or outside the folder.
    """
    folder = on_this_machine(path)
    index = read_index(folder)
    for split in index.splits.values():
        for shard in split.shards:
            problem = find_size_problem(folder, shard)
            if problem:
                raise DataError(
                    f"{folder / shard.file}: {problem}: run lnln-dist verify {folder}, then copy "
                    "or prepare the data again"
                )
    return ShardedDataset(folder, index)


def find_size_problem(folder: Path, shard: ShardInfo) -> str:
    """What is wrong with a shard as far as its name and size tell; empty if nothing is."""
    path = folder / shard.file
    if not path.is_file():
        return "the shard is missing"
    if path.resolve().parent != folder.resolve():
        return "the shard is a link to outside its folder"
    size = path.stat().st_size
    if size != shard.bytes:
        return f"the shard has {size} bytes, the index says {shard.bytes}: cut short or replaced"
    return ""
