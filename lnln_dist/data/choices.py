"""What ``prepare`` is asked for: every option once, with its default, its help and its checks."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lnln_dist.config import Modality, option
from lnln_dist.errors import DataError

TextChoice = Literal["auto", "text_bert", "raw_text"]
UTF_8 = "utf-8"


def cut_sd_option() -> Any:
    """The field that ``prepare`` and ``extract`` have in common."""
    return option(
        None,
        "cut audio and vision at mean + K standard deviations of the training split's lengths "
        "(published files: 3; default: not cut)",
        type=float,
        metavar="K",
    )


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a feature file becomes shards; each field's metadata is its command line option.

    Raises:
        DataError: an impossible value.
    """

    rescale_labels: bool = option(
        False,
        "map --label-range linearly onto the family's range ([-3, 3] or [-1, 1]); without it "
        "scores that are not defined for other labels are left out",
    )
    clip_labels: bool = option(
        False, "set labels outside the range to its ends, counted, instead of refusing the file"
    )
    tokenizer: str | None = option(
        None,
        "tokenise raw_text with the BERT-type tokenizer of this folder or hub name "
        "(tokenizer.json; vocab.txt; vocab.json with merges.txt; or a SentencePiece model of "
        "DeBERTa, ALBERT, XLM-R or CamemBERT), or with `corpus`: a vocabulary made from the "
        "training sentences",
        metavar="FOLDER",
    )
    text_source: Literal["auto", "text_bert", "raw_text"] = option(
        "auto",
        "auto: the file's text_bert unless --tokenizer is given; text_bert with --tokenizer says "
        "that the file's ids are that tokenizer's",
        choices=["auto", "text_bert", "raw_text"],
    )
    label_column: int | None = option(
        None,
        "which of several labels per sample is the sentiment, from 0 (CMU-MOSEI's seven: 0)",
        type=int,
        metavar="K",
    )
    max_lengths: Mapping[Modality, int] = field(default_factory=dict)
    """Most places kept; longer sequences lose their ends (text keeps [SEP]). Without it the file's
    padded lengths, and 50 for text without ``text_bert``."""
    cut_sd: float | None = cut_sd_option()
    encoding: str = option(
        UTF_8,
        "of the byte strings in a file of Python 2: utf-8, latin1, gbk, ...",
        metavar="E",
    )
    allow_cut: bool = option(
        False,
        "where audio_lengths or vision_lengths contradict the frames, drop the frames outside "
        "them, counted, instead of refusing the file (padding in front is found without this)",
    )
    group_by: str | None = option(
        None,
        "finds the video at the beginning of an id as its one group, e.g. '(.+)_\\d+', to see "
        "whether one is in two splits (default: ids are VIDEO$_$CLIP)",
        metavar="REGEX",
    )
    shard_mb: float = option(256, "about this many MB (10^6 bytes) per shard", type=float)

    def __post_init__(self) -> None:
        """Refuses what no file could make right."""
        if not self.shard_mb > 0:
            raise DataError(f"--shard-mb {self.shard_mb}: must be above 0")
        for m, limit in self.max_lengths.items():
            if limit < 1:
                raise DataError(f"--max-{m} {limit}: must be at least 1")
        if self.cut_sd is not None and not 0 <= self.cut_sd < math.inf:
            raise DataError(f"--cut-sd {self.cut_sd}: 0 or more standard deviations")
        if self.text_source not in ("auto", "text_bert", "raw_text"):
            raise DataError(f"--text-source {self.text_source}: choose auto, text_bert or raw_text")
        try:
            groups = 1 if self.group_by is None else re.compile(self.group_by).groups
        except re.error as err:
            raise DataError(
                f"--group-by {self.group_by}: not a regular expression ({err})"
            ) from err
        if groups != 1:
            raise DataError(
                f"--group-by {self.group_by}: has {groups} groups; one is needed, the video: "
                r"'(.+)_\d+' for ids such as VIDEO_12"
            )
