"""``index.json``: what a folder of shards holds, where it came from and what was repaired."""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.errors import DataError
from lnln_dist.files import atomic_write
from lnln_dist.metrics import Family
from lnln_dist.vocabulary import Count, FileName, NotNegative, Record, Sha256, TokenizerInfo

# 2: shards of which a split has gaps say, place by place, what was there.
FORMAT_VERSIONS = (1, 2)
INDEX = "index.json"
VIDEO = r"(.+?)\$_\$"  # ids of the public sets: VIDEO$_$CLIP

SplitName = Literal["train", "valid", "test"]
FrameModality = Literal["audio", "vision"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
FRAMES: tuple[FrameModality, ...] = ("audio", "vision")
LabelName = Literal["label", "label_text", "label_audio", "label_vision"]


class SourceInfo(Record):
    """The feature file: its name without folders, and its content."""

    name: str
    sha256: Sha256
    bytes: NotNegative


class ShardInfo(Record):
    """One Arrow IPC file."""

    file: FileName
    rows: Count
    bytes: Count
    sha256: Sha256


class SplitInfo(Record):
    """One split: its shards in row order, and its sequence lengths in places."""

    rows: Count
    max_lengths: dict[Modality, Count]
    total_lengths: dict[Modality, Count]
    seen: tuple[Modality, ...] = ()
    """Modalities with gaps, whose shards say which places were there (``seen_MODALITY``)."""
    shards: Annotated[tuple[ShardInfo, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "SplitInfo":
        if sum(shard.rows for shard in self.shards) != self.rows:
            raise ValueError(f"the shards' rows do not add up to {self.rows}")
        for lengths in (self.max_lengths, self.total_lengths):
            _require(lengths, MODALITIES)
        if len(set(self.seen)) != len(self.seen):
            raise ValueError("seen must name each modality once")
        return self


class Scale(Record):
    """How large the features of a modality are."""

    largest: tuple[Annotated[float, Field(ge=0)], ...]
    """Largest magnitude of each feature, in the order of the columns."""
    zero_frames: dict[SplitName, NotNegative]
    """Frames that are wholly zero, per split."""
    mean: tuple[float, ...] | None = None
    """Of each feature over the training split's frames that are not wholly zero; None in data
    prepared before this was noted."""
    sd: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """Standard deviations of the same."""


class LabelScale(Record):
    """How the labels to predict are distributed, in their unit."""

    mean: float
    sd: Annotated[float, Field(ge=0)]


class Gaps(Record):
    """Places that were never there, which look as erased ones do: [UNK] tokens, frames of zeros."""

    samples: NotNegative
    """Samples with such a place."""
    runs: NotNegative
    """Of such places on end."""
    places: NotNegative
    absent: NotNegative | None = None
    """Of these samples, those that have no other place: nothing of the modality. None in data
    prepared before this was noted."""


NAMED = 3  # clips that are named of those of which there is something to tell


class VideoCheck(Record):
    """How videos were told from the samples' ids."""

    pattern: str
    """Regular expression whose group is the video."""
    understood: NotNegative
    """Ids that it fits, of all splits together."""
    twice: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Of those, ids that are in two splits, by pair: the same clip in both. The first few."""


class Index(Record):
    """Everything about prepared data that its shards do not say."""

    format_version: Literal[1, 2]
    """1 where no split has gaps, as before there were any."""
    dataset: str
    family: Family
    """How it is scored: as MOSI and MOSEI, or as CH-SIMS."""
    source: SourceInfo
    tokenizer: TokenizerInfo
    text_source: Literal["text_bert", "raw_text"]
    """The feature file's own token ids, or its sentences tokenised anew."""
    widths: dict[FrameModality, Count]
    """Features per frame."""
    padded_lengths: dict[Modality, Count]
    """Places of the padded source: the sizes of the model's position tables."""
    label_range: tuple[float, float]
    rescaled_from: tuple[float, float] | None = None
    """The source's label range, if its labels were mapped linearly onto ``label_range``."""
    labels: Annotated[tuple[LabelName, ...], Field(min_length=1)]
    """Label columns of the shards; the first is the one to predict."""
    label_scales: dict[SplitName, LabelScale] | None = None
    """None in data prepared before this was noted."""
    repairs: dict[SplitName, dict[str, NotNegative]]
    """What was mended or dropped, per split: names in ``summary.MEANING``, counts."""
    overlap: dict[str, NotNegative]
    """Videos that two splits share, by pair such as ``train/valid``."""
    videos: VideoCheck | None = None
    """None in data prepared before this was noted."""
    scales: dict[FrameModality, Scale] | None = None
    """None in data prepared before this was noted."""
    gaps: dict[Modality, dict[SplitName, Gaps]] | None = None
    """None in data prepared before this was noted."""
    extraction: dict[str, dict[str, str]] | None = None
    """Settings, tool versions and model files behind features extracted from clips here."""
    no_clip: tuple[str, ...] = ()
    """Ids of samples of which there was a text and no clip to extract."""
    splits: dict[SplitName, SplitInfo]

    @model_validator(mode="after")
    def _check(self) -> "Index":
        _require(self.widths, FRAMES)
        _require(self.padded_lengths, MODALITIES)
        if not self.splits:
            raise ValueError("no split")
        if self.labels[0] != "label" or len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must begin with label and name each column once")
        if self.format_version != (2 if any(s.seen for s in self.splits.values()) else 1):
            raise ValueError("format_version must be 2 if a split has gaps, else 1")
        if not self.label_range[0] < self.label_range[1]:
            raise ValueError("label_range must rise")
        files = [shard.file for split in self.splits.values() for shard in split.shards]
        if len(set(files)) != len(files):
            raise ValueError("a shard is listed twice")
        return self

    def data_hash(self) -> str:
        """SHA-256 over all that decides the numbers; names, paths and the source do not."""
        tokenizer = self.tokenizer.model_dump(exclude={"name", "folder", "files"})
        decisive = self.model_dump(
            mode="json",
            include={
                "format_version",
                "family",
                "widths",
                "padded_lengths",
                "label_range",
                "labels",
            },
        )
        shards = {n: [shard.sha256 for shard in self.splits[n].shards] for n in self.splits}
        return _digest({**decisive, "tokenizer": tokenizer, "shards": shards})


def _require(given: dict[Any, Any], wanted: tuple[str, ...]) -> None:
    if set(given) != set(wanted):
        raise ValueError(f"expected {', '.join(wanted)}, found {', '.join(given) or 'nothing'}")


def _digest(content: object) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_index(index: Index, folder: Path) -> None:
    """Writes ``index.json`` with a checksum over its own content."""
    content = index.model_dump(mode="json")
    content["checksum"] = _digest(content)
    atomic_write(folder / INDEX, json.dumps(content, indent=1, ensure_ascii=True) + "\n")


def read_index(folder: Path) -> Index:
    """Reads and checks ``index.json``.

    Raises:
        DataError: missing, of another format, damaged, or naming files outside the folder.
    """
    path = folder / INDEX
    remedy = "prepare the data again"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; write it with lnln-dist prepare")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise DataError(f"{folder}: no {INDEX} in it; write it with lnln-dist prepare") from err
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err
    except (ValueError, RecursionError) as err:
        raise DataError(f"{path}: not JSON, so damaged: {remedy}") from err
    if not isinstance(content, dict):
        raise DataError(f"{path}: not an index: {remedy}")
    if (version := content.get("format_version")) not in FORMAT_VERSIONS:
        known = " and ".join(map(str, FORMAT_VERSIONS))
        raise DataError(f"{path}: format version {version!r}, this program reads {known}: {remedy}")
    checksum = content.pop("checksum", None)
    try:
        # Through JSON again: strict checks take its lists for tuples.
        index = Index.model_validate_json(json.dumps(content))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        why = re.sub(r"^Value error, ", "", first["msg"])
        raise DataError(f"{path}: {where}: {why}: {remedy}") from err
    try:
        _require(index.splits, SPLITS)
    except ValueError as err:
        raise DataError(f"{path}: splits: {err}: {remedy}") from err
    if checksum != _digest(content):
        raise DataError(f"{path}: changed since it was written (its checksum differs): {remedy}")
    return index
