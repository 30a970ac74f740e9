"""Arrow IPC files of about one size: the columns of a shard and the writing of it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lnln_dist.config import Modality
from lnln_dist.data.schema import (
    FRAMES,
    FrameModality,
    LabelName,
    ShardInfo,
)

# pyarrow carries no types of its own.
ArrowSchema: TypeAlias = Any


def shard_schema(
    labels: Sequence[LabelName],
    widths: dict[FrameModality, int],
    seen: Sequence[Modality] = (),
) -> ArrowSchema:
    """Columns of a shard, none of which may be null.

    Sequences have their valid places only. Frames are lists of fixed-size float32 vectors, so
    the values of a batch are one block of memory. Modalities with gaps have a column more, 1 for
    each place that was there and 0 for one that was not.
    """

    def column(name: str, kind: Any) -> Any:
        return pa.field(name, kind, nullable=False)

    def places(kind: Any) -> Any:
        return pa.list_(pa.field("item", kind, nullable=False))

    def frames(width: int) -> Any:
        return places(pa.list_(pa.field("item", pa.float32(), nullable=False), width))

    return pa.schema(
        [
            column("id", pa.string()),
            column("raw_text", pa.string()),
            *(column(label, pa.float32()) for label in labels),
            column("tokens", places(pa.int32())),
            column("segments", places(pa.int8())),
            *(column(m, frames(widths[m])) for m in FRAMES),
            *(column(f"seen_{m}", places(pa.int8())) for m in seen),
        ]
    )


# Arrays are made of buffers, and read from them: pyarrow's own conversions import pandas, 40 MB
# in every process.
def vector(values: NDArray[Any]) -> Any:
    """A column of numbers from [N], without copying them."""
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def strings(values: Sequence[str]) -> Any:
    """A column of strings."""
    encoded = [value.encode() for value in values]
    offsets = _offsets(np.array([len(text) for text in encoded], dtype=np.int64))
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))
    )


def _offsets(lengths_N: NDArray[np.int64]) -> NDArray[np.int32]:
    offsets = np.zeros(len(lengths_N) + 1, dtype=np.int32)
    np.cumsum(lengths_N, out=offsets[1:])
    return offsets


def numbers(column: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """A read-only view of a column that holds one number per row and no nulls, [N]."""
    assert column.offset == 0
    return np.frombuffer(column.buffers()[1], dtype=dtype, count=len(column))


def list_offsets(column: Any) -> NDArray[np.int32]:
    """A read-only view of where the rows of a list column begin, and the last ends, [N + 1]."""
    assert column.offset == 0
    return np.frombuffer(column.buffers()[1], dtype=np.int32, count=len(column) + 1)


class Ragged(NamedTuple):
    """A list column of one record batch as views of its memory."""

    offsets: NDArray[np.integer]  # [N + 1]
    values: NDArray[Any]  # [S] or [S, D]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Places of each row."""
        return np.diff(self.offsets).astype(np.int64)

    def piece(self, rows: slice) -> NDArray[Any]:
        """The places of some rows, one after another."""
        return self.values[self.offsets[rows.start] : self.offsets[rows.stop]]


def sequences(
    record: Any, widths: Mapping[FrameModality, int], seen: Sequence[Modality] = ()
) -> dict[str, Ragged]:
    """The list columns of a record batch: of every modality, ``segments``, ``seen_MODALITY``."""
    kinds: dict[str, type[np.generic]] = {"tokens": np.int32, "segments": np.int8}
    kinds |= {f"seen_{m}": np.int8 for m in seen}
    found = {
        "text" if name == "tokens" else name: Ragged(
            list_offsets(record.column(name)), numbers(record.column(name).values, dtype)
        )
        for name, dtype in kinds.items()
    }
    for m in FRAMES:
        column = record.column(m)
        values_SD = numbers(column.values.values, np.float32).reshape(-1, widths[m])
        found[m] = Ragged(list_offsets(column), values_SD)
    return found


def sequence(kind: Any, values: NDArray[Any], lengths_N: NDArray[np.int64]) -> Any:
    """A list column from values [S] or [S, D] put one after another, without copying them."""
    inner = vector(values.reshape(-1))
    if values.ndim == 2:
        inner = pa.FixedSizeListArray.from_arrays(inner, type=kind.value_type)
    return pa.ListArray.from_arrays(vector(_offsets(lengths_N)), inner, type=kind)


class _HashedSink:
    """A file that is hashed and counted while it is written."""

    def __init__(self, path: Path) -> None:
        self.file, self.hash, self.size = path.open("wb"), hashlib.sha256(), 0
        self.closed = False

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.file.close()
        self.closed = True


class ShardWriter:
    """Writes the batches of a split to files ``SPLIT-00000.arrow`` and on.

    Args:
        folder: where.
        split: first part of the files' names.
        schema: of ``shard_schema``.
        shard_bytes: a batch that would exceed it opens the next file.
    """

    def __init__(self, folder: Path, split: str, schema: ArrowSchema, *, shard_bytes: int) -> None:
        self.shards: list[ShardInfo] = []
        self._folder, self._split, self._schema = folder, split, schema
        self._shard_bytes = shard_bytes
        self._sink: _HashedSink | None = None
        self._writer: Any = None
        self._rows = 0

    def write(self, columns: Sequence[Any], rows: int) -> None:
        """Appends one record batch whose columns are in the order of the schema."""
        batch = pa.record_batch(columns, schema=self._schema)
        if self._sink is not None and self._sink.size + batch.nbytes > self._shard_bytes:
            self._finish()
        if self._sink is None:
            name = f"{self._split}-{len(self.shards):05d}.arrow"
            self._sink = _HashedSink(self._folder / name)
            # Uncompressed: only then can a reader map the values instead of copying them.
            self._writer = pa.ipc.new_file(self._sink, self._schema)
        self._writer.write_batch(batch)
        self._rows += rows

    def _finish(self) -> None:
        assert self._sink is not None
        self._writer.close()
        self._sink.close()
        self.shards.append(
            ShardInfo(
                file=f"{self._split}-{len(self.shards):05d}.arrow",
                rows=self._rows,
                bytes=self._sink.size,
                sha256=self._sink.hash.hexdigest(),
            )
        )
        self._sink, self._writer, self._rows = None, None, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sink is None:
            return
        if kind is None:
            self._finish()
        else:
            # The folder is thrown away; writing the footer could fail once more.
            self._sink.file.close()
