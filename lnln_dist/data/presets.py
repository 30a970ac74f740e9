"""What is known beforehand about the public data sets, and how own ones are named."""

import math
from dataclasses import dataclass

from lnln_dist.data.schema import Family
from lnln_dist.errors import DataError
from lnln_dist.vocabulary import TokenizerInfo

# ``vocabulary.vocabulary_sha256`` of the 30522 word pieces of bert-base-uncased.
BERT_UNCASED = "56ab807c90f9195e8ee3436ceb2fdab015e85dda4e5bf736a9bcd8aedd53854c"


def _bert(name: str, size: int, sha256: str | None) -> TokenizerInfo:
    return TokenizerInfo(
        name=name,
        vocab_sha256=sha256,
        vocab_size=size,
        pad_id=0,
        unk_id=100,
        cls_id=101,
        sep_id=102,
    )


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A data set: how it is scored, its labels, and the tokenizer of its ``text_bert``."""

    dataset: str
    family: Family
    label_range: tuple[float, float]
    tokenizer: TokenizerInfo | None


_UNCASED = _bert("bert-base-uncased", 30522, BERT_UNCASED)
PRESETS = {
    preset.dataset: preset
    for preset in (
        # The built-in synthetic corpus, which comes as sentences.
        Preset(dataset="demo", family="mosi", label_range=(-3.0, 3.0), tokenizer=None),
        Preset(dataset="mosi", family="mosi", label_range=(-3.0, 3.0), tokenizer=_UNCASED),
        Preset(dataset="mosei", family="mosi", label_range=(-3.0, 3.0), tokenizer=_UNCASED),
        Preset(
            dataset="sims",
            family="sims",
            label_range=(-1.0, 1.0),
            tokenizer=_bert("bert-base-chinese", 21128, None),
        ),
    )
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
        raise DataError(f"--label-range {low} {high}: the first must be below the second")
    return Preset(
        dataset=dataset, family=family, label_range=(float(low), float(high)), tokenizer=None
    )
