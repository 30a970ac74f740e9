"""MMSA feature file -> a folder of Arrow shards with an index, whole or not at all."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import Modality
from lnln_dist.data import repair
from lnln_dist.data.lengths import Extent, find_extents
from lnln_dist.data.mmsa import LABELS, RawFile, RawSplit, read_pickle
from lnln_dist.data.presets import Preset, check_inputs, check_labels, find_preset
from lnln_dist.data.schema import (
    FRAMES,
    INDEX,
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
from lnln_dist.data.text import TextChoice, TextSource, choose_text
from lnln_dist.data.tokens import FOLDER
from lnln_dist.data.values import UTF_8
from lnln_dist.data.writer import (
    ScaleSum,
    ShardWriter,
    sequence,
    shard_schema,
    strings,
    vector,
)
from lnln_dist.errors import DataError
from lnln_dist.files import atomic_folder
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
    rescale_labels: bool = False,
    clip_labels: bool = False,
    tokenizer: str | None = None,
    text_source: TextChoice = "auto",
    label_column: int | None = None,
    encoding: str = UTF_8,
    max_lengths: Mapping[Modality, int] | None = None,
    allow_cut: bool = False,
    group_by: str | None = None,
    shard_mb: float = 256,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Index:
    """Writes a feature file as shards, whole or not at all; memory peaks at about its size.

    Args:
        source: MMSA pickle: a path or a URI that fsspec can open.
        target: folder to write.
        dataset: of ``presets``, or an own name with ``family`` (scoring) and ``label_range``.
        rescale_labels: map ``label_range`` onto the family's, so that all its scores are defined.
        clip_labels: take labels outside ``label_range`` for its ends.
        tokenizer: folder or hub name of a BERT-type tokenizer for ``raw_text``, or "corpus"
            for a vocabulary made from the training sentences.
        text_source: "text_bert" with a tokenizer says that the ids in the file are its own.
        label_column: which of several labels per sample is the sentiment, from 0.
        encoding: of byte strings in the file, which Python 2 wrote.
        max_lengths: most places kept per modality; longer sequences lose their ends (text keeps
            [SEP]). Without it the file's padded lengths; 50 for text without ``text_bert``.
        allow_cut: where frames contradict their lengths, drop what lies outside.
        group_by: regular expression whose group is the video in an id; None: VIDEO$_$CLIP.
        shard_mb: about how many megabytes (10^6 bytes) a shard has.
        overwrite: replace an existing ``target``.
        progress: called with the split, its rows done and its rows in all.

    Raises:
        DataError: the file or the choices are wrong.
        UserError: ``target`` exists or cannot be written.
    """
    preset = find_preset(dataset, family, label_range)
    folder, limits = local_only(target, what="the shards"), dict(max_lengths or {})
    _check_choices(folder, limits, shard_mb, overwrite)
    if rescale_labels and preset.label_range == preset.family_range:
        raise DataError(f"--rescale-labels: {dataset} has the labels of its family already")
    low, high = preset.label_range
    if rescale_labels and low < 0 < high and low != -high:
        raise DataError(
            f"--rescale-labels: a range from {low:g} to {high:g} has its middle beside 0: mapping "
            "it would turn signs; give a --label-range that is symmetric about 0"
        )
    pattern = None if group_by is None else _group_pattern(group_by)
    with atomic_folder(folder, overwrite=overwrite) as pending:
        return write_shards(
            read_pickle(source, label_column=label_column, encoding=encoding),
            pending,
            preset,
            tokenizer=tokenizer,
            text_source=text_source,
            limits=limits,
            name=str(source),
            shard_mb=shard_mb,
            labels=LabelChoice(rescale=rescale_labels, clip=clip_labels),
            allow_cut=allow_cut,
            group_by=pattern,
            progress=progress,
        )


@dataclass(frozen=True)
class LabelChoice:
    """What is done to labels: checked, set to the ends of their range, mapped onto another."""

    check: bool = True
    clip: bool = False
    rescale: bool = False


AS_GIVEN = LabelChoice()


def write_shards(
    raw: RawFile,
    folder: Path,
    preset: Preset,
    *,
    tokenizer: str | None,
    text_source: TextChoice,
    limits: Mapping[Modality, int],
    name: str,
    shard_mb: float = 256,
    labels: LabelChoice = AS_GIVEN,
    allow_cut: bool = False,
    group_by: re.Pattern[str] | None = None,
    progress: Progress | None = None,
) -> Index:
    """Writes the splits of a file that was read, and last of all the index.

    Args:
        raw: the file; its splits are let go of on the way.
        folder: an empty folder.
        preset: how the data is scored.
        tokenizer: see ``prepare``.
        text_source: see ``prepare``.
        limits: most places kept per modality.
        name: of the file, for messages.
        shard_mb: see ``prepare``.
        labels: unchecked ones are written as they are, missing ones among them.
        allow_cut: see ``prepare``.
        group_by: see ``prepare``.
        progress: see ``prepare``.

    Raises:
        DataError: the file or the choices are wrong.
    """
    layout = find_layout(raw, limits, name=name)
    ids = {split: raw.splits[split].ids for split in SPLITS if split in raw.splits}
    videos = shared_videos(ids, group_by, name=name)
    if labels.check:
        train, where = raw.splits["train"], f"{name}: train"
        check_inputs(preset, widths=layout.widths, sentences=train.raw_text, name=name)
        check_labels(preset, _read_label(train, "label", preset, labels, where)[0], name=name)
    text = choose_text(
        raw,
        preset,
        tokenizer=tokenizer,
        choice=text_source,
        limit=limits.get("text"),
        folder=folder,
        name=name,
    )
    chunk_bytes = min(MOST_CHUNK, max(LEAST_CHUNK, raw.source.bytes // CHUNK_SHARE))
    conversion = _Conversion(
        name=name,
        folder=folder,
        shard_bytes=int(shard_mb * MEGABYTE),
        chunk_bytes=chunk_bytes,
        preset=preset,
        layout=layout,
        extents={
            m: find_extents(raw, m, name=name, chunk_bytes=chunk_bytes, allow_cut=allow_cut)
            for m in FRAMES
        },
        text=text,
        labels=labels,
        progress=progress,
    )
    index = conversion.run(raw, videos)
    write_index(index, folder)
    return index


def _check_choices(
    folder: Path, limits: Mapping[Modality, int], shard_mb: float, overwrite: bool
) -> None:
    if not shard_mb > 0:
        raise DataError(f"--shard-mb {shard_mb}: must be above 0")
    for m, limit in limits.items():
        if limit < 1:
            raise DataError(f"--max-{m} {limit}: must be at least 1")
    if not (overwrite and folder.exists()):
        return
    # A slip of the path must not cost anything but prepared data.
    known = {INDEX, FOLDER}
    held = [folder] if folder.is_file() else sorted(folder.iterdir())
    foreign = [path.name for path in held if path.name not in known and path.suffix != ".arrow"]
    if foreign:
        raise DataError(
            f"{folder} holds other things than prepared data ({foreign[0]}, ...): choose another "
            "folder"
        )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes and columns that hold for all splits."""

    widths: dict[FrameModality, int]  # features per frame
    lengths: dict[FrameModality, int]  # most places kept
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
    lengths: dict[FrameModality, int] = {}
    for m in FRAMES:
        shapes = {
            n: repair.sample_shape(split.frames[m], where=f"{name}: {n}: {m}")
            for n, split in raw.splits.items()
        }
        for n, shape in shapes.items():
            if len(shape) != 2 or not all(shape):
                raise DataError(
                    f"{name}: {n}: {m} has samples of the shape {shape}, expected (places, "
                    "features)"
                )
        found = {n: shape[1] for n, shape in shapes.items()}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{width} in {n}" for n, width in found.items())
            raise DataError(f"{name}: {m} frames differ in their number of features: {listed}")
        widths[m] = next(iter(found.values()))
        longest = max(shape[0] for shape in shapes.values())
        lengths[m] = min(longest, limits.get(m, longest))
    return Layout(widths=widths, lengths=lengths, labels=_label_names(raw, name))


def _label_names(raw: RawFile, name: str) -> tuple[LabelName, ...]:
    found: list[LabelName] = []
    for label, column in LABELS.items():
        having = [n for n, split in raw.splits.items() if label in split.labels]
        if having and len(having) < len(raw.splits):
            raise DataError(f"{name}: {column} is in {', '.join(having)} only: all splits or none")
        if having:
            found.append(label)
    return tuple(found)


def _group_pattern(group_by: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(group_by)
    except re.error as err:
        raise DataError(f"--group-by {group_by}: not a regular expression ({err})") from err
    if pattern.groups != 1:
        raise DataError(
            f"--group-by {group_by}: has {pattern.groups} groups; one is needed, the video: "
            r"'(.+)_\d+' for ids such as VIDEO_12"
        )
    return pattern


def shared_videos(
    ids: Mapping[SplitName, Sequence[str]], own: re.Pattern[str] | None, *, name: str
) -> tuple[dict[str, int], VideoCheck]:
    """Number of videos that two splits share, by pair, and how many ids said their video.

    Args:
        ids: of each split's samples.
        own: finds the video at the start of an id, as its only group, and must fit every id;
            None: ids should be VIDEO$_$CLIP.
        name: of the file, for messages.

    Raises:
        DataError: the user's pattern does not fit an id.
    """
    pattern = own or re.compile(VIDEO)
    videos: dict[SplitName, set[str]] = {}
    understood = 0
    for split, samples in ids.items():
        found = {sample: pattern.match(sample) for sample in samples}
        missed = [sample for sample, match in found.items() if match is None or match[1] is None]
        if own and missed:
            raise DataError(
                f"{name}: {split}: --group-by {pattern.pattern} does not fit the id {missed[0]!r} "
                f"({len(missed)} such samples)"
            )
        understood += len(found) - len(missed)
        videos[split] = {m[1] for m in found.values() if m is not None and m[1] is not None}
        # An id in two splits is one sample twice; a mere number is only its place in the split.
        videos[split] |= {sample for sample in missed if not sample.isdecimal()}
    overlap = {f"{a}/{b}": len(videos[a] & videos[b]) for a, b in itertools.combinations(videos, 2)}
    return overlap, VideoCheck(pattern=pattern.pattern, understood=understood)


def _read_label(
    split: RawSplit, label: LabelName, preset: Preset, labels: LabelChoice, where: str
) -> tuple[NDArray[np.float32], int]:
    return repair.label_column(
        split.labels[label],
        ids=split.ids,
        label_range=preset.label_range,
        where=f"{where}: {LABELS[label]}",
        clip=labels.clip,
    )


@dataclass(frozen=True, kw_only=True)
class _Conversion:
    """The decisions for a file; ``run`` carries them out."""

    name: str  # of the file, for messages
    folder: Path
    shard_bytes: int
    chunk_bytes: int
    preset: Preset
    layout: Layout
    extents: dict[FrameModality, dict[str, Extent]]
    text: TextSource
    labels: LabelChoice
    progress: Progress | None
    scales: dict[FrameModality, ScaleSum] = field(default_factory=dict)

    def run(self, raw: RawFile, videos: tuple[dict[str, int], VideoCheck]) -> Index:
        """Writes the shards of all splits; returns the index."""
        preset, text, layout = self.preset, self.text, self.layout
        splits: dict[SplitName, SplitInfo] = {}
        repairs: dict[SplitName, dict[str, int]] = {}
        self.scales.update({m: ScaleSum(layout.widths[m]) for m in FRAMES})
        for split in (split for split in SPLITS if split in raw.splits):
            # Taken out of the file, so that its memory is free for the next one.
            splits[split], repairs[split] = self._split(split, raw.splits.pop(split))
        padded: dict[Modality, int] = {"text": text.padded}
        padded.update({m: layout.lengths[m] for m in FRAMES})
        return Index(
            format_version=1,
            dataset=preset.dataset,
            family=preset.family,
            source=raw.source,
            extraction=raw.extraction,
            tokenizer=text.info,
            text_source="text_bert" if text.tokenizer is None else "raw_text",
            widths=layout.widths,
            padded_lengths=padded,
            label_range=preset.family_range if self.labels.rescale else preset.label_range,
            rescaled_from=preset.label_range if self.labels.rescale else None,
            labels=layout.labels,
            repairs=repairs,
            overlap=videos[0],
            videos=videos[1],
            scales={m: found.scale() for m, found in self.scales.items()},
            splits=splits,
        )

    def _split(self, split: SplitName, raw: RawSplit) -> tuple[SplitInfo, dict[str, int]]:
        """Writes the shards of a split; returns what the index says of it, and the repairs."""
        where, rows = f"{self.name}: {split}", len(raw.ids)
        extents = {m: self.extents[m][split] for m in FRAMES}
        counts: Counter[str] = Counter()
        for extent in extents.values():
            counts.update(extent.counts)
        labels = self._labels(raw, counts, where)
        text = self.text.rows(raw, where=where)
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
                    packed_SD, lengths[m] = repair.pack_frames(
                        repair.frames_of(raw.frames[m], part, where=f"{where}: {m}"),
                        extents[m].length_N[part],
                        extents[m].start_N[part],
                        limit=self.layout.lengths[m],
                        field=m,
                        counts=counts,
                    )
                    self.scales[m].add(split, packed_SD)
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

    def _labels(self, raw: RawSplit, counts: Counter[str], where: str) -> list[NDArray[np.float32]]:
        if not self.labels.check:
            return [np.asarray(raw.labels[label], np.float32) for label in self.layout.labels]
        columns = []
        for label in self.layout.labels:
            column_N, clipped = _read_label(raw, label, self.preset, self.labels, where)
            counts[f"{label}.clipped"] += clipped
            columns.append(self.preset.rescale(column_N) if self.labels.rescale else column_N)
        return columns

    def _step(self, raw: RawSplit) -> int:
        """Rows handled at once: a few megabytes, and a part of a shard."""
        row_bytes = 0
        for values in raw.frames.values():
            places, width = repair.sample_shape(values, where=self.name)
            row_bytes += places * width * getattr(values, "itemsize", 8)
        return max(1, min(self.chunk_bytes, self.shard_bytes // 4) // row_bytes)
