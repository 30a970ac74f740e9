"""A folder of clips and a label file -> prepared shards.

Each clip's features are kept in ``OUT.clips`` under the hash of its contents and the settings, so
that a run that was killed, or several on a common folder, lose at most the clips in flight.
"""

import csv
import functools
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lnln_dist.clips import features
from lnln_dist.clips.choices import Corpus, Extractor
from lnln_dist.clips.features import Features, Job
from lnln_dist.clips.labels import Accepted, Rejected, read_labels
from lnln_dist.clips.pool import Progress, Tasks, run_all
from lnln_dist.clips.transcript import read_subtitles
from lnln_dist.data.choices import Choices
from lnln_dist.data.convert import check_replaceable, write_shards
from lnln_dist.data.mmsa import RawFile, RawSplit
from lnln_dist.data.schema import FRAMES, SPLITS, Index, LabelName, SourceInfo
from lnln_dist.data.values import ID_PARTS, Unpadded
from lnln_dist.errors import DataError, UserError
from lnln_dist.files import (
    PENDING,
    alone,
    atomic_folder,
    atomic_write,
    explain_os_errors,
    sha256_file,
)

LABELS: dict[LabelName, Callable[[Accepted], float | None]] = {
    "label": lambda row: row.clip.label,
    "label_text": lambda row: row.clip.label_T,
    "label_audio": lambda row: row.clip.label_A,
    "label_vision": lambda row: row.clip.label_V,
}


@dataclass(frozen=True)
class Extraction:
    """What came of it."""

    index: Index
    rejected: list[Rejected]
    rows: int


def extract_corpus(
    corpus: Corpus,
    target: Path,
    extractor: Extractor,
    *,
    workers: int = 1,
    tasks: Tasks | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Extraction:
    """Extracts all clips and writes the shards, whole or not at all.

    Rows that cannot be used are listed in ``TARGET.rejected.csv``.

    Args:
        corpus: label file, clips and what is known about them.
        target: folder to write.
        extractor: what is looked for.
        workers: processes of this machine.
        tasks: runs the clips elsewhere instead, where ``target`` and the clips are seen too.
        overwrite: replace an existing ``target``.
        progress: called with clips done and clips in all.
        tell: gets a line of what the user should know before the clips are opened.

    Raises:
        DataError: there are no clips where they are looked for, more rows than ``most_rejected``
            were left out, or a split has none left.
        UserError: a library or program is missing, or ``target`` exists or cannot be written.
    """
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists: choose another name, remove it or pass --overwrite")
    if corpus.format == "shards":
        check_replaceable(target)
    elif target.is_dir():
        raise UserError(f"{target} is a folder: --format mmsa writes a file")
    if workers < 1:
        raise UserError(f"--workers {workers}: at least 1")
    if not corpus.clips.is_dir():
        raise DataError(f"{corpus.clips}: no such folder of clips")
    features.check(extractor)
    with alone(target):
        run = functools.partial(
            run_all, extractor=extractor, workers=workers, tasks=tasks, progress=progress
        )
        return _extract(corpus, target, extractor, run, overwrite=overwrite, tell=tell)


def _extract(
    corpus: Corpus,
    target: Path,
    extractor: Extractor,
    run: Callable[[Sequence[Job]], dict[str, str]],
    *,
    overwrite: bool,
    tell: Callable[[str], object],
) -> Extraction:
    accepted, rejected = read_labels(
        corpus.labels,
        corpus.clips,
        label_range=corpus.preset.label_range,
        encoding=corpus.encoding,
        tell=tell,
    )
    if not extractor.opens_clips:
        tell("--audio none --vision none: no clip is opened, the data are text alone")
    rows = len(accepted) + len(rejected)
    cache = target.with_name(f"{target.name}.clips")
    jobs = {row.clip.id: _job(row, cache, extractor) for row in accepted}
    no_clip = _without_clip(list(jobs.values()), corpus, extractor)
    with explain_os_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    if done := sum(job.target.exists() for job in jobs.values()):
        tell(f"going on: {done} of {len(jobs)} clips done before")
    failed = run(list(jobs.values()))
    texts, found = _texts(accepted, failed, alone=not extractor.opens_clips)
    rejected = sorted([*rejected, *found], key=lambda row: row.line)
    listed = target.with_name(f"{target.name}.rejected.csv")
    _write_rejected(rejected, listed)
    if len(rejected) > corpus.most_rejected * rows:
        raise DataError(
            f"{len(rejected)} of {rows} rows cannot be used (line {rejected[0].line}: "
            f"{rejected[0].reason}); all in {listed}: mend them, or allow more with --most-rejected"
        )
    kept = [row for row in accepted if row.clip.id in texts]
    found_of = {row.clip.id: features.read(jobs[row.clip.id].target) for row in kept}
    raw = _assemble(kept, texts, found_of, corpus, extractor)
    raw.no_clip = tuple(name for name in no_clip if name in texts)
    if extractor.transcribe:
        _write_words(found_of, target.with_name(f"{target.name}.words.jsonl"))
    choices = Choices(tokenizer=corpus.tokenizer, text_source="raw_text", cut_sd=corpus.cut_sd)
    if corpus.format == "mmsa":
        index = _write_mmsa(raw, target, corpus, choices, overwrite)
    else:
        with atomic_folder(target, overwrite=overwrite) as pending:
            index = write_shards(raw, pending, corpus.preset, choices, name=str(corpus.labels))
    shutil.rmtree(cache, ignore_errors=True)
    return Extraction(index, rejected, rows)


def _without_clip(jobs: Sequence[Job], corpus: Corpus, extractor: Extractor) -> list[str]:
    """Ids without anything to open, where clips are opened.

    Raises:
        DataError: it is so for all.
    """
    if not extractor.opens_clips:
        return []
    lacking = [job.id for job in jobs if job.media is None and job.openface_csv is None]
    if jobs and len(lacking) == len(jobs):
        raise DataError(
            f"{corpus.clips}: no row's clip is in it (VIDEO_ID/CLIP_ID.mp4, .wav, ...; first "
            f"{lacking[0].replace(ID_PARTS, '/')}): give the folder of the clips, or --audio none "
            "--vision none for text alone"
        )
    return lacking


def _write_mmsa(
    raw: RawFile, target: Path, corpus: Corpus, choices: Choices, overwrite: bool
) -> Index:
    from lnln_dist.compat.mmsa import encoder_for, write_mmsa

    encoder = corpus.text_encoder or encoder_for(corpus.tokenizer)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=PENDING) as folder:
        index = write_shards(raw, Path(folder), corpus.preset, choices, name=str(corpus.labels))
        write_mmsa(Path(folder), target, encoder=encoder, overwrite=overwrite)
    return index


def _job(row: Accepted, cache: Path, extractor: Extractor) -> Job:
    table = None
    if extractor.openface_csv is not None:
        table = Path(extractor.openface_csv) / row.clip.video_id / f"{row.clip.clip_id}.csv"
    says_text = bool(row.clip.text.strip()) or row.subtitles is not None
    media = row.media if extractor.opens_clips else None
    name = features.key(media, table, extractor, says_text=says_text)
    return Job(row.clip.id, media, table, cache / f"{name}.safetensors", says_text)


def _texts(
    rows: Sequence[Accepted], failed: dict[str, str], *, alone: bool
) -> tuple[dict[str, str], list[Rejected]]:
    """What label file and subtitles say of the clips in use, and those that drop out.

    A row without a text is of no use where that is ``alone``.
    """
    texts, rejected = {}, []
    for row in rows:
        reason, text = failed.get(row.clip.id), row.clip.text.strip()
        try:
            if not text and row.subtitles is not None:
                text = read_subtitles(row.subtitles)
        except DataError as err:
            reason = reason or str(err)
        if alone and not text:
            reason = reason or "no text, and clips are not opened"
        if reason is None:
            texts[row.clip.id] = text
        else:
            rejected.append(Rejected(line=row.line, id=row.clip.id, reason=reason))
    return texts, rejected


def _write_rejected(rejected: Sequence[Rejected], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["line", "id", "reason"])
    writer.writerows((row.line, row.id, row.reason) for row in rejected)
    atomic_write(path, text.getvalue())


def _write_words(found: Mapping[str, Features], path: Path) -> None:
    """The recognised words and their times, a line of JSON per clip that has any."""
    lines = [
        json.dumps({"id": name, "words": one.words}, ensure_ascii=False) + "\n"
        for name, one in found.items()
        if one.words
    ]
    atomic_write(path, "".join(lines))


def _assemble(
    rows: Sequence[Accepted],
    texts: Mapping[str, str],
    found_of: Mapping[str, Features],
    corpus: Corpus,
    extractor: Extractor,
) -> RawFile:
    """The clips' features as a feature file in memory, in the order of the label file."""
    labels = [name for name, field in LABELS.items() if all(field(row) is not None for row in rows)]
    splits: dict[str, RawSplit] = {}
    for split in SPLITS:
        chosen = [row for row in rows if row.clip.split == split]
        if not chosen:
            raise DataError(f"{corpus.labels}: no row of mode {split} can be used")
        found = [found_of[row.clip.id] for row in chosen]
        audio_N, vision_N = [one.audio_TD for one in found], [one.vision_TD for one in found]
        frames = {
            "audio": Unpadded(features.dense(audio_N, extractor.widths["audio"])),
            "vision": Unpadded(features.dense(vision_N, extractor.widths["vision"])),
        }
        splits[split] = RawSplit(
            ids=[row.clip.id for row in chosen],
            raw_text=[texts[row.clip.id] or found_of[row.clip.id].text for row in chosen],
            frames={m: frames[m] for m in FRAMES},
            lengths={m: np.array(frames[m].lengths) for m in FRAMES},
            text_bert=None,
            labels={name: np.array([LABELS[name](row) for row in chosen]) for name in labels},
            unusable={},
        )
    with corpus.labels.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
    source = SourceInfo(name=corpus.labels.name, sha256=sha256_file(corpus.labels), bytes=size)
    return RawFile(source=source, splits=splits, extraction=features.facts(extractor))
