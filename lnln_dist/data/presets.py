"""What is known beforehand about the public data sets, and how own ones are named."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnln_dist.data.schema import FRAMES, FrameModality
from lnln_dist.errors import DataError
from lnln_dist.metrics import LABEL_RANGE, Family
from lnln_dist.vocabulary import TokenizerInfo

CHINESE = re.compile("[\u4e00-\u9fff]")
FEW = 20  # labels that may well lie on one side by chance
MANY = 100  # labels that reach the ends of the range in any real corpus

# ``vocabulary.vocabulary_sha256`` of the 30522 word pieces of bert-base-uncased.
BERT_UNCASED = "56ab807c90f9195e8ee3436ceb2fdab015e85dda4e5bf736a9bcd8aedd53854c"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A data set: how it is scored, its labels, and the tokenizer of its ``text_bert``."""

    dataset: str
    family: Family
    label_range: tuple[float, float]
    tokenizer: TokenizerInfo | None
    widths: tuple[int, int] | None = None  # of its published features, audio and vision

    @property
    def family_range(self) -> tuple[float, float]:
        """Labels for which all scores of the family are defined."""
        return LABEL_RANGE[self.family]

    def check_rescaling(self) -> None:
        """Refuses to rescale labels for which it is needless or would turn signs.

        Raises:
            DataError: the label range is the family's, or has its middle beside 0.
        """
        low, high = self.label_range
        if self.label_range == self.family_range:
            raise DataError(
                f"--rescale-labels: {self.dataset} has the labels of its family already"
            )
        if low < 0 < high and low != -high:
            raise DataError(
                f"--rescale-labels: a range from {low:g} to {high:g} has its middle beside 0: "
                "mapping it would turn signs; give a --label-range that is symmetric about 0"
            )

    def rescale(self, label_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Labels mapped linearly from ``label_range`` onto ``family_range``."""
        low, high = self.family_range
        share_N = (label_N.astype(np.float64) - self.label_range[0]) / (
            self.label_range[1] - self.label_range[0]
        )
        return np.asarray(low + share_N * (high - low), np.float32)


_IDS: dict[str, Any] = {
    "pad_id": 0,
    "unk_id": 100,
    "cls_id": 101,
    "sep_id": 102,
}  # of BERT, in any language
_UNCASED = TokenizerInfo(
    name="bert-base-uncased", vocab_sha256=BERT_UNCASED, vocab_size=30522, **_IDS
)
_CHINESE = TokenizerInfo(name="bert-base-chinese", vocab_sha256=None, vocab_size=21128, **_IDS)
_PUBLIC: tuple[tuple[str, Family, TokenizerInfo | None, tuple[int, int] | None], ...] = (
    ("demo", "mosi", None, None),  # the built-in synthetic corpus, which comes as sentences
    ("mosi", "mosi", _UNCASED, (5, 20)),
    ("mosei", "mosi", _UNCASED, (74, 35)),
    ("sims", "sims", _CHINESE, (33, 709)),
)
PRESETS = {
    name: Preset(
        dataset=name,
        family=family,
        label_range=LABEL_RANGE[family],
        tokenizer=tokenizer,
        widths=widths,
    )
    for name, family, tokenizer, widths in _PUBLIC
}


def find_preset(
    dataset: str, family: Family | None, label_range: tuple[float, float] | None
) -> Preset:
    """A public data set by its name, or an own one by name, scoring and label range.

    Raises:
        DataError: an own one without them, or a public one with others.
    """
    known = PRESETS.get(dataset)
    if known is not None:
        if family not in (None, known.family) or label_range not in (None, known.label_range):
            raise DataError(
                f"--dataset {dataset} fixes family {known.family} and labels in "
                f"{list(known.label_range)}: give your own data set another name"
            )
        return known
    if not dataset or family is None or label_range is None:
        raise DataError(
            f"--dataset {dataset or '(empty)'} is none of {', '.join(PRESETS)}: an own data set "
            "needs a name, --family (mosi or sims scoring) and --label-range LOW HIGH"
        )
    low, high = label_range
    if family not in ("mosi", "sims"):
        raise DataError(f"--family {family}: choose mosi or sims")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DataError(
            f"--label-range {low} {high}: two finite numbers are needed, the first below the second"
        )
    return Preset(
        dataset=dataset, family=family, label_range=(float(low), float(high)), tokenizer=None
    )


def check_inputs(
    preset: Preset, *, widths: Mapping[FrameModality, int], sentences: Sequence[str], name: str
) -> None:
    """Refuses a file whose inputs are plainly of another data set than the one named.

    Args:
        preset: the data set named.
        widths: features per frame.
        sentences: of the training split.
        name: of the file, for messages.

    Raises:
        DataError: features of another public set, or Chinese for English.
    """
    found = tuple(widths[m] for m in FRAMES)
    for other in PRESETS.values():
        if preset.widths not in (None, found) and other.widths == found:
            raise DataError(
                f"{name}: has the features of {other.dataset} (audio {found[0]}, vision {found[1]} "
                f"per frame), not of {preset.dataset}: give --dataset {other.dataset}, or a name "
                "of your own with --family and --label-range"
            )
    chinese = sum(CHINESE.search(sentence) is not None for sentence in sentences)
    if preset.tokenizer == _UNCASED and chinese > len(sentences) / 2:
        raise DataError(
            f"{name}: its sentences are Chinese, so it is not {preset.dataset}: give --dataset "
            "sims, or a name of your own with --family and --label-range"
        )


def check_labels(preset: Preset, label_N: NDArray[np.float32], *, name: str) -> None:
    """Refuses training labels, all in the preset's range, that are plainly of another.

    Raises:
        DataError: they reach one side of zero only, or a part of a public set's range.
    """
    low, high = preset.label_range
    least, most = float(label_N.min()), float(label_N.max())
    if len(label_N) >= FEW and least == most:
        raise DataError(
            f"{name}: all {len(label_N)} training labels are {least:g}, there is nothing to learn: "
            "give the file its labels, or another column of them with --label-column"
        )
    one_sided = len(label_N) >= FEW and low < 0 < high and (least >= 0 or most <= 0)
    # CH-SIMS or rescaled labels under the name of MOSI.
    narrow = len(label_N) >= MANY and preset.widths and max(-least, most) <= high / 2
    if one_sided or narrow:
        remedy = "a name of your own, --family and" if preset.dataset in PRESETS else "another"
        raise DataError(
            f"{name}: the training labels lie in [{least:g}, {most:g}], not in [{low:g}, {high:g}] "
            f"as those of {preset.dataset}: give {remedy} --label-range, and --rescale-labels to "
            "map it onto the family's"
        )
