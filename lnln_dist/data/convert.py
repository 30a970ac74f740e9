"""MMSA feature file -> a folder of Arrow shards with an index, whole or not at all."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data import repair
from lnln_dist.data.choices import Choices
from lnln_dist.data.lengths import Extent, find_extents
from lnln_dist.data.measure import Measure, find_gaps
from lnln_dist.data.mmsa import LABELS, RawFile, RawSplit, read_pickle
from lnln_dist.data.presets import Preset, check_inputs, check_labels, find_preset
from lnln_dist.data.schema import (
    FRAMES,
    INDEX,
    NAMED,
    SPLITS,
    VIDEO,
    FrameModality,
    Index,
    LabelName,
    SplitInfo,
    SplitName,
    VideoCheck,
    write_index,
)
from lnln_dist.data.source import local_only
from lnln_dist.data.text import TextSource, choose_text
from lnln_dist.data.tokens import FOLDER, Encoded
from lnln_dist.data.writer import Ragged, ShardWriter, sequence, shard_schema, strings, vector
from lnln_dist.errors import DataError
from lnln_dist.files import alone, atomic_folder
from lnln_dist.metrics import Family

# Padded features handled at once, which is also a record batch: large enough that a big set has
# few of them, small beside the file because a few copies are alive.
MOST_CHUNK, LEAST_CHUNK, CHUNK_SHARE = 16 << 20, 1 << 20, 64
MEGABYTE = 1_000_000

Progress = Callable[[SplitName, int, int], None]


def prepare(
    source: str | Path,
    target: str | Path,
    *,
    dataset: str,
    family: Family | None = None,
    label_range: tuple[float, float] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **choices: Any,
) -> Index:
    """Writes a feature file as shards, whole or not at all; memory peaks at about its size.

    Args:
        source: MMSA pickle: a path or a URI that fsspec can open.
        target: folder to write.
        dataset: of ``presets``, or an own name with ``family`` (scoring) and ``label_range``.
        overwrite: replace an existing ``target``.
        progress: called with the split, its rows done and its rows in all.
        choices: fields of ``Choices``.

    Raises:
        DataError: the file or the choices are wrong.
        UserError: ``target`` exists, is being written by another process, or cannot be written.
    """
    preset, asked = find_preset(dataset, family, label_range), Choices(**choices)
    if asked.rescale_labels:
        preset.check_rescaling()
    folder = local_only(target, what="the shards")
    if folder.name in ("", ".."):
        raise DataError(f"{target}: give the name of a folder to write")
    if overwrite:
        check_replaceable(folder)
    with alone(folder), atomic_folder(folder, overwrite=overwrite) as pending:
        raw = read_pickle(source, label_column=asked.label_column, encoding=asked.encoding)
        return write_shards(raw, pending, preset, asked, name=str(source), progress=progress)


def check_replaceable(folder: Path) -> None:
    """Makes sure that a slip of the path costs nothing but prepared data.

    Raises:
        DataError: there is something else.
    """
    held = sorted(folder.iterdir()) if folder.is_dir() else [folder] * folder.exists()
    other = [p.name for p in held if p.name not in (INDEX, FOLDER) and p.suffix != ".arrow"]
    if other:
        raise DataError(
            f"{folder} holds other things than prepared data ({other[0]}, ...): choose another "
            "folder"
        )


def write_shards(
    raw: RawFile,
    folder: Path,
    preset: Preset,
    choices: Choices,
    *,
    name: str,
    check: bool = True,
    progress: Progress | None = None,
) -> Index:
    """Writes the splits of a file that was read, and last of all the index.

    Args:
        raw: the file; its splits are let go of on the way.
        folder: an empty folder.
        preset: how the data is scored.
        choices: see ``prepare``, as ``progress``.
        name: of the file, for messages.
        check: the labels, and that they and the inputs are of the preset; else labels are written
            as they are, missing ones among them.

    Raises:
        DataError: the file or the choices are wrong.
    """
    layout = find_layout(raw, choices.max_lengths, name=name)
    ids = {split: raw.splits[split].ids for split in SPLITS if split in raw.splits}
    overlap, videos = shared_videos(ids, choices.group_by, name=name)
    if check:
        sentences = raw.splits["train"].raw_text
        check_inputs(preset, widths=layout.widths, sentences=sentences, name=name)
    text = choose_text(raw, preset, choices, folder=folder, name=name)
    measure = Measure(layout.widths, text.info.unk_id)
    chunk_bytes = min(MOST_CHUNK, max(LEAST_CHUNK, raw.source.bytes // CHUNK_SHARE))
    extents, layout = _extents(raw, layout, choices, name=name, chunk_bytes=chunk_bytes)
    conversion = _Conversion(
        name, folder, preset, choices, layout, text, measure, chunk_bytes, check, progress
    )
    splits, repairs = conversion.run(raw, extents)
    index = Index(
        format_version=2 if any(split.seen for split in splits.values()) else 1,
        dataset=preset.dataset,
        family=preset.family,
        source=raw.source,
        extraction=raw.extraction,
        no_clip=raw.no_clip,
        tokenizer=text.info,
        text_source="text_bert" if text.tokenizer is None else "raw_text",
        widths=layout.widths,
        padded_lengths={"text": text.padded, **layout.lengths},
        label_range=preset.family_range if choices.rescale_labels else preset.label_range,
        rescaled_from=preset.label_range if choices.rescale_labels else None,
        labels=layout.labels,
        repairs=repairs,
        overlap=overlap,
        videos=videos,
        splits=splits,
        **measure.told(),
    )
    write_index(index, folder)
    return index


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes and columns that hold for all splits."""

    widths: dict[FrameModality, int]  # features per frame
    lengths: dict[Modality, int]  # most places kept of audio and vision
    labels: tuple[LabelName, ...]


def find_layout(raw: RawFile, limits: Mapping[Modality, int], *, name: str) -> Layout:
    """Reads the layout off the first sample of every split.

    Args:
        raw: the feature file.
        limits: most places to keep, by modality.
        name: of the file, for messages.

    Raises:
        DataError: frames that are not [places, features], widths or labels that differ.
    """
    widths: dict[FrameModality, int] = {}
    lengths: dict[Modality, int] = {}
    for m in FRAMES:
        shapes = {
            n: repair.sample_shape(split.frames[m], where=f"{name}: {n}: {m}")
            for n, split in raw.splits.items()
        }
        for n, shape in shapes.items():
            if len(shape) != 2 or not all(shape):
                pooled = "; one vector a sample is an array of the shape [n, 1, D]"
                raise DataError(
                    f"{name}: {n}: {m} has samples of the shape {shape}, expected (places, "
                    f"features){pooled if len(shape) == 1 else ''}"
                )
        found = {n: shape[1] for n, shape in shapes.items()}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{width} in {n}" for n, width in found.items())
            raise DataError(f"{name}: {m} frames differ in their number of features: {listed}")
        widths[m] = next(iter(found.values()))
        longest = max(shape[0] for shape in shapes.values())
        lengths[m] = min(longest, limits.get(m, longest))
    return Layout(widths=widths, lengths=lengths, labels=_label_names(raw, name))


def _extents(
    raw: RawFile, layout: Layout, choices: Choices, *, name: str, chunk_bytes: int
) -> tuple[dict[FrameModality, dict[str, Extent]], Layout]:
    """Where the real frames are, and the layout cut by ``choices.cut_sd``."""
    found = {
        m: find_extents(raw, m, name=name, chunk_bytes=chunk_bytes, allow_cut=choices.allow_cut)
        for m in FRAMES
    }
    if choices.cut_sd is None:
        return found, layout
    kept: dict[Modality, int] = {}
    for m in FRAMES:
        length_N = found[m]["train"].length_N
        most = math.ceil(float(length_N.mean() + choices.cut_sd * length_N.std()))
        kept[m] = min(layout.lengths[m], max(1, most))
    return found, replace(layout, lengths=kept)


def _label_names(raw: RawFile, name: str) -> tuple[LabelName, ...]:
    found: list[LabelName] = []
    for label, column in LABELS.items():
        having = [n for n, split in raw.splits.items() if label in split.labels]
        if having and len(having) < len(raw.splits):
            raise DataError(f"{name}: {column} is in {', '.join(having)} only: all splits or none")
        if having:
            found.append(label)
    return tuple(found)


def shared_videos(
    ids: Mapping[SplitName, Sequence[str]], group_by: str | None, *, name: str
) -> tuple[dict[str, int], VideoCheck]:
    """Number of videos that two splits share, by pair, and what else the ids said.

    Args:
        ids: of each split's samples.
        group_by: regular expression that finds the video at the start of an id, as its only group,
            and must fit every id; None: ids should be VIDEO$_$CLIP.
        name: of the file, for messages.

    Raises:
        DataError: the user's pattern does not fit an id.
    """
    pattern, understood = group_by or VIDEO, 0
    videos: dict[SplitName, set[str]] = {}
    clips: dict[SplitName, dict[str, None]] = {}
    for split, samples in ids.items():
        found = [match[1] if (match := re.match(pattern, sample)) else None for sample in samples]
        missed = [sample for sample, video in zip(samples, found, strict=True) if video is None]
        if group_by and missed:
            raise DataError(
                f"{name}: {split}: --group-by {group_by} does not fit the id {missed[0]!r} "
                f"({len(missed)} such samples)"
            )
        understood += len(found) - len(missed)
        videos[split] = {video for video in found if video is not None}
        clips[split] = {c: None for c, video in zip(samples, found, strict=True) if video}
    pairs = {f"{a}/{b}": (a, b) for a, b in itertools.combinations(videos, 2)}
    overlap = {pair: len(videos[a] & videos[b]) for pair, (a, b) in pairs.items()}
    same = {pair: [c for c in clips[a] if c in clips[b]][:NAMED] for pair, (a, b) in pairs.items()}
    twice = {pair: tuple(found) for pair, found in same.items() if found}
    return overlap, VideoCheck(pattern=pattern, understood=understood, twice=twice)


@dataclass(frozen=True)
class _Conversion:
    """The decisions for a file; ``run`` carries them out."""

    name: str  # of the file, for messages
    folder: Path
    preset: Preset
    choices: Choices
    layout: Layout
    text: TextSource
    measure: Measure
    chunk_bytes: int
    check: bool
    progress: Progress | None

    def run(
        self, raw: RawFile, extents: Mapping[FrameModality, Mapping[str, Extent]]
    ) -> tuple[dict[SplitName, SplitInfo], dict[SplitName, dict[str, int]]]:
        """Writes the shards of all splits; returns what the index says of them, and the repairs."""
        if self.check:
            label_N = self._labels(raw.splits["train"], Counter(), f"{self.name}: train")[0]
            check_labels(self.preset, label_N, name=self.name)
        splits: dict[SplitName, SplitInfo] = {}
        repairs: dict[SplitName, dict[str, int]] = {}
        for split in (split for split in SPLITS if split in raw.splits):
            counts: Counter[str] = Counter()
            # Taken out of the file, so that its memory is free for the next one.
            splits[split] = self._split(
                split, raw.splits.pop(split), {m: extents[m][split] for m in FRAMES}, counts
            )
            repairs[split] = {what: n for what, n in sorted(counts.items()) if n}
        return splits, repairs

    def _split(
        self,
        split: SplitName,
        raw: RawSplit,
        extents: Mapping[FrameModality, Extent],
        counts: Counter[str],
    ) -> SplitInfo:
        """Writes the shards of a split."""
        where, rows = f"{self.name}: {split}", len(raw.ids)
        for extent in extents.values():
            counts.update(extent.counts)
        labels = self._labels(raw, counts, where)
        if self.choices.rescale_labels:
            labels = [self.preset.rescale(label_N) for label_N in labels]
        self.measure.add_labels(split, labels[0])
        text = self.text.rows(raw, counts=counts, where=where)
        seen = self._seen(text, extents)
        schema = shard_schema(self.layout.labels, self.layout.widths, list(seen))
        shard_bytes = int(self.choices.shard_mb * MEGABYTE)
        longest: Counter[Modality] = Counter()
        total: Counter[Modality] = Counter()
        with ShardWriter(self.folder, split, schema, shard_bytes=shard_bytes) as writer:
            step = max(1, min(self.chunk_bytes, shard_bytes // 4) // self._row_bytes(raw))
            for start in range(0, rows, step):
                part = slice(start, min(start + step, rows))
                encoded = text.piece(part)
                lengths: dict[Modality, NDArray[np.int64]] = {"text": encoded.lengths_N}
                packed: dict[FrameModality, NDArray[np.float32]] = {}
                for m in FRAMES:
                    packed[m], lengths[m] = repair.pack_frames(
                        repair.frames_of(raw.frames[m], part, where=f"{where}: {m}"),
                        extents[m].length_N[part],
                        extents[m].start_N[part],
                        limit=self.layout.lengths[m],
                        field=m,
                        counts=counts,
                    )
                here = {m: there.piece(part) for m, there in seen.items()}
                texts = [strings(raw.ids[part]), strings(raw.raw_text[part])]
                columns = [*texts, *(vector(label_N[part]) for label_N in labels)]
                for name, values_S in (("tokens", encoded.ids_S), ("segments", encoded.segments_S)):
                    columns.append(sequence(schema.field(name).type, values_S, encoded.lengths_N))
                columns += [sequence(schema.field(m).type, packed[m], lengths[m]) for m in FRAMES]
                for modality, own in here.items():
                    kind = schema.field(f"seen_{modality}").type
                    columns.append(sequence(kind, own.view(np.int8), lengths[modality]))
                writer.write(columns, part.stop - part.start)
                self.measure.add(split, encoded.ids_S, packed, lengths, here)
                for modality, lengths_N in lengths.items():
                    longest[modality] = max(longest[modality], int(lengths_N.max()))
                    total[modality] += int(lengths_N.sum())
                if self.progress is not None:
                    self.progress(split, part.stop, rows)
        return SplitInfo(
            rows=rows,
            max_lengths=dict(longest),
            total_lengths=dict(total),
            seen=tuple(seen),
            shards=tuple(writer.shards),
        )

    def _seen(
        self, text: Encoded, extents: Mapping[FrameModality, Extent]
    ) -> dict[Modality, Ragged]:
        """Which places of a split were there, of the modalities in which some were not."""
        found: dict[Modality, Ragged] = {}
        unknown_S = text.ids_S == self.text.info.unk_id
        gaps = [(text.lengths_N, find_gaps(unknown_S, text.lengths_N, "text"))]
        for m in FRAMES:
            start_N, length_N, _, filled_NT, never_NT = extents[m]
            kept_N = np.clip(length_N, 1, self.layout.lengths[m])
            place_NT = np.arange(filled_NT.shape[1]) - start_N[:, None]
            own_NT = (place_NT >= 0) & (place_NT < kept_N[:, None])
            gap_S = find_gaps(~filled_NT[own_NT], kept_N, m) | never_NT[own_NT]
            gaps.append((kept_N, gap_S))
        for modality, (lengths_N, gap_S) in zip(MODALITIES, gaps, strict=True):
            if gap_S.any():
                offsets = np.concatenate([[0], np.cumsum(lengths_N)])
                found[modality] = Ragged(offsets, ~gap_S)
        return found

    def _labels(self, raw: RawSplit, counts: Counter[str], where: str) -> list[NDArray[np.float32]]:
        """The label columns of a split in their own range."""
        columns = []
        for label in self.layout.labels:
            if not self.check:
                columns.append(np.asarray(raw.labels[label], np.float32))
                continue
            column_N, clipped = repair.label_column(
                raw.labels[label],
                ids=raw.ids,
                label_range=self.preset.label_range,
                where=f"{where}: {LABELS[label]}",
                clip=self.choices.clip_labels,
            )
            counts[f"{label}.clipped"] += clipped
            columns.append(column_N)
        return columns

    def _row_bytes(self, raw: RawSplit) -> int:
        shapes = {m: repair.sample_shape(raw.frames[m], where=self.name) for m in FRAMES}
        return sum(
            shapes[m][0] * shapes[m][1] * getattr(raw.frames[m], "itemsize", 8) for m in FRAMES
        )
