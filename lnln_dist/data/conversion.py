"""One split of a feature file -> its shards, a few megabytes at a time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import Modality
from lnln_dist.data import repair
from lnln_dist.data.layout import Layout
from lnln_dist.data.mmsa import LABELS, RawSplit
from lnln_dist.data.presets import Preset
from lnln_dist.data.schema import FRAMES, FrameModality, SplitInfo, SplitName
from lnln_dist.data.text import TextSource, mask_lengths
from lnln_dist.data.writer import ShardWriter, sequence, shard_schema, strings, vector
from lnln_dist.errors import DataError

Progress = Callable[[SplitName, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The decisions for a file; ``run`` carries them out for one split."""

    name: str  # of the file, for messages
    folder: Path
    shard_bytes: int
    chunk_bytes: int
    preset: Preset
    layout: Layout
    text: TextSource
    labelled: bool  # labels are checked, which a prediction does not need
    progress: Progress | None

    def run(self, split: SplitName, raw: RawSplit) -> tuple[SplitInfo, dict[str, int]]:
        """Writes the shards of a split; returns what the index says of it, and the repairs.

        Raises:
            DataError: a field cannot be used; the message names split, field and sample.
        """
        where, rows = f"{self.name}: {split}", len(raw.ids)
        counts: Counter[str] = Counter()
        labels = self._labels(raw, where)
        text = self.text.rows(raw, where=where)
        known = self._lengths(raw, counts, where)
        schema = shard_schema(self.layout.labels, self.layout.widths)
        longest: Counter[Modality] = Counter()
        total: Counter[Modality] = Counter()
        with ShardWriter(self.folder, split, schema, shard_bytes=self.shard_bytes) as writer:
            step = self._step(raw)
            for start in range(0, rows, step):
                part = slice(start, min(start + step, rows))
                encoded = text.piece(part.start, part.stop)
                columns = [
                    strings(raw.ids[part]),
                    strings(raw.raw_text[part]),
                    *(vector(label_N[part]) for label_N in labels),
                    sequence(schema.field("tokens").type, encoded.ids_S, encoded.lengths_N),
                    sequence(schema.field("segments").type, encoded.segments_S, encoded.lengths_N),
                ]
                lengths: dict[Modality, NDArray[np.int64]] = {"text": encoded.lengths_N}
                for m in FRAMES:
                    packed_SD, lengths[m] = self._frames(raw, m, part, known[m], counts, where)
                    columns.append(sequence(schema.field(m).type, packed_SD, lengths[m]))
                writer.write(columns, part.stop - part.start)
                for modality, lengths_N in lengths.items():
                    longest[modality] = max(longest[modality], int(lengths_N.max()))
                    total[modality] += int(lengths_N.sum())
                if self.progress is not None:
                    self.progress(split, part.stop, rows)
        info = SplitInfo(
            rows=rows,
            max_lengths=dict(longest),
            total_lengths=dict(total),
            shards=tuple(writer.shards),
        )
        counts += text.counts
        return info, {what: n for what, n in sorted(counts.items()) if n}

    def _labels(self, raw: RawSplit, where: str) -> list[NDArray[np.float32]]:
        if not self.labelled:
            return [np.asarray(raw.labels[label], np.float32) for label in self.layout.labels]
        return [
            repair.label_column(
                raw.labels[label],
                ids=raw.ids,
                label_range=self.preset.label_range,
                where=f"{where}: {LABELS[label]}",
            )
            for label in self.layout.labels
        ]

    def _step(self, raw: RawSplit) -> int:
        """Rows handled at once: a few megabytes, and a part of a shard."""
        row_bytes = 0
        for values in raw.frames.values():
            places, width = repair.sample_shape(values, where=self.name)
            row_bytes += places * width * getattr(values, "itemsize", 8)
        return max(1, min(self.chunk_bytes, self.shard_bytes // 4) // row_bytes)

    def _lengths(
        self, raw: RawSplit, counts: Counter[str], where: str
    ) -> dict[FrameModality, NDArray[np.int64] | None]:
        """Lengths as given or, in aligned files, by the attention mask; None: by the zeros."""
        found: dict[FrameModality, NDArray[np.int64] | None] = {}
        for m in FRAMES:
            places = repair.sample_shape(raw.frames[m], where=where)[0]
            if raw.lengths[m] is not None:
                found[m] = repair.given_lengths(
                    raw.lengths[m],
                    padded=places,
                    ids=raw.ids,
                    field=m,
                    counts=counts,
                    where=f"{where}: {m}_lengths",
                )
                continue
            found[m] = mask_lengths(raw, places, where=where)
            kind = "length_from_zeros" if found[m] is None else "length_from_mask"
            counts[f"{m}.{kind}"] += len(raw.ids)
        return found

    def _frames(
        self,
        raw: RawSplit,
        m: FrameModality,
        part: slice,
        known: NDArray[np.int64] | None,
        counts: Counter[str],
        where: str,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        values: Any = raw.frames[m]
        chunk = repair.numeric(values[part], where=f"{where}: {m}")
        shape = repair.sample_shape(values, where=where)
        if chunk.shape[1:] != shape:
            raise DataError(f"{where}: {m}: samples of different shapes: pad them to one length")
        lengths = repair.lengths_from_zeros(chunk) if known is None else known[part]
        return repair.pack_frames(
            chunk, lengths, limit=self.layout.lengths[m], field=m, counts=counts
        )
