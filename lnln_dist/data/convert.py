"""MMSA feature file -> a folder of Arrow shards with an index, whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from lnln_dist.config import Modality
from lnln_dist.data.conversion import Conversion, Progress
from lnln_dist.data.layout import find_layout, shared_videos
from lnln_dist.data.mmsa import RawFile, read_pickle
from lnln_dist.data.presets import Preset, find_preset
from lnln_dist.data.schema import (
    FRAMES,
    INDEX,
    SPLITS,
    Family,
    Index,
    SplitInfo,
    SplitName,
    write_index,
)
from lnln_dist.data.source import local_only
from lnln_dist.data.text import TextChoice, choose_text
from lnln_dist.data.tokens import FOLDER
from lnln_dist.errors import DataError
from lnln_dist.files import atomic_folder

# Padded features handled at once, which is also a record batch: large enough that a big set has
# few of them, small beside the file because a few copies are alive.
MOST_CHUNK, LEAST_CHUNK, CHUNK_SHARE = 16 << 20, 1 << 20, 64
MEGABYTE = 1_000_000


def prepare(
    source: str | Path,
    target: str | Path,
    *,
    dataset: str,
    family: Family | None = None,
    label_range: tuple[float, float] | None = None,
    tokenizer: str | None = None,
    text_source: TextChoice = "auto",
    label_column: int | None = None,
    max_lengths: Mapping[Modality, int] | None = None,
    shard_mb: float = 256,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Index:
    """Writes a feature file as shards, whole or not at all; memory peaks at about its size.

    Args:
        source: MMSA pickle: a path or a URI that fsspec can open.
        target: folder to write.
        dataset: of ``presets``, or an own name with ``family`` (scoring) and ``label_range``.
        tokenizer: folder or hub name of a BERT-type tokenizer for ``raw_text``, or "corpus"
            for a vocabulary made from the training sentences.
        text_source: "text_bert" with a tokenizer says that the ids in the file are its own.
        label_column: which of several labels per sample is the sentiment, from 0.
        max_lengths: most places kept per modality; longer sequences lose their ends (text keeps
            [SEP]). Without it the file's padded lengths; 50 for text without ``text_bert``.
        shard_mb: about how many megabytes (10^6 bytes) a shard has.
        overwrite: replace an existing ``target``.
        progress: called with the split, its rows done and its rows in all.

    Raises:
        DataError: the file or the choices are wrong.
        UserError: ``target`` exists or cannot be written.
    """
    preset = find_preset(dataset, family, label_range)
    folder = local_only(target, what="the shards")
    limits = dict(max_lengths or {})
    _check_choices(folder, limits, shard_mb, overwrite)
    with atomic_folder(folder, overwrite=overwrite) as pending:
        return write_shards(
            read_pickle(source, label_column=label_column),
            pending,
            preset,
            tokenizer=tokenizer,
            text_source=text_source,
            limits=limits,
            shard_mb=shard_mb,
            name=str(source),
            progress=progress,
        )


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
    labelled: bool = True,
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
        labelled: labels must be there and in range; else they are written as they are.
        progress: see ``prepare``.

    Raises:
        DataError: the file or the choices are wrong.
    """
    layout = find_layout(raw, limits, name=name)
    text = choose_text(
        raw,
        preset,
        tokenizer=tokenizer,
        choice=text_source,
        limit=limits.get("text"),
        folder=folder,
        name=name,
    )
    conversion = Conversion(
        name=name,
        folder=folder,
        shard_bytes=int(shard_mb * MEGABYTE),
        chunk_bytes=min(MOST_CHUNK, max(LEAST_CHUNK, raw.source.bytes // CHUNK_SHARE)),
        preset=preset,
        layout=layout,
        text=text,
        labelled=labelled,
        progress=progress,
    )
    return _convert(raw, conversion)


def _convert(raw: RawFile, conversion: Conversion) -> Index:
    """Writes the shards of all splits and, last of all, the index."""
    preset, text, layout = conversion.preset, conversion.text, conversion.layout
    names = [split for split in SPLITS if split in raw.splits]
    overlap = shared_videos({split: raw.splits[split].ids for split in names})
    splits: dict[SplitName, SplitInfo] = {}
    repairs: dict[SplitName, dict[str, int]] = {}
    for split in names:
        # Taken out of the file, so that its memory is free for the next one.
        splits[split], repairs[split] = conversion.run(split, raw.splits.pop(split))
    padded: dict[Modality, int] = {"text": text.padded}
    padded.update({m: layout.lengths[m] for m in FRAMES})
    index = Index(
        format_version=1,
        dataset=preset.dataset,
        family=preset.family,
        source=raw.source,
        tokenizer=text.info,
        text_source="text_bert" if text.tokenizer is None else "raw_text",
        widths=layout.widths,
        padded_lengths=padded,
        label_range=preset.label_range,
        labels=layout.labels,
        repairs=repairs,
        overlap=overlap,
        splits=splits,
    )
    write_index(index, conversion.folder)
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
