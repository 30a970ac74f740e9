"""The import report: an index in words."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES
from lnln_dist.console import counted
from lnln_dist.data.schema import (
    FRAMES,
    NAMED,
    SPLITS,
    VIDEO,
    FrameModality,
    Index,
    Scale,
    SplitName,
)
from lnln_dist.metrics import left_out

FP16_MOST = float(np.finfo(np.float16).max)
FAR = 1000  # times the median column: far from the others
SHOWN = 4  # columns named
SHIFTED = 0.2  # of a standard deviation: the least that is called an effect (Cohen 1988)
CERTAIN = 4  # standard errors: beyond what the choice of samples moves a mean by
FLOAT64 = "float64"  # the name of a repair that mends nothing

GAP = {"text": "[UNK] token", "audio": "zero frame", "vision": "zero frame"}
# Repairs by the part of their name after the field: what happened, and what was counted.
MEANING = {
    "all_nan": "frames were NaN throughout: taken as never there",
    "nan": "values were NaN: set to 0",
    "plus_inf": "values were +inf (or too large for float32): set to 0",
    "minus_inf": "values were -inf (or too large for float32): set to 0",
    "empty": "sequences had no frames: one frame of zeros each",
    "cut": "sequences were longer than the places kept: ends cut off",
    "over_padding": "lengths exceeded the padded sequence: cut to it",
    "beyond_length": "frames outside the sequence were not zero: dropped",
    "padded_in_front": "samples were padded in front: moved to the beginning",
    "leading_zeros": "zero frames begin sequences and may be padding, which too few show: kept",
    "length_from_mask": "lengths were missing: taken from the text's attention mask",
    "length_from_zeros": "lengths were missing: taken from where the frames are not zero",
    "last_not_sep": "sentences do not end with [SEP]: nothing was changed",
    "no_words": "sentences were empty: one [UNK] each, taken as never there",
    "clipped": "labels were outside the range: set to its end",
}
# Of clips that were extracted here: told as natural gaps, since nothing was mended.
MARKED = ("all_nan", "no_words")


def describe(index: Index) -> str:
    """Rows, lengths, sizes, labels, repairs, scales, gaps and shared videos of data, in lines."""
    low, high = index.label_range
    tokenizer = index.tokenizer
    vocabulary = tokenizer.vocab_sha256[:12] if tokenizer.vocab_sha256 else "hash unknown"
    lines = [
        f"{index.dataset} from {index.source.name} ({_mb(index.source.bytes)}, sha256 "
        f"{index.source.sha256[:12]}): family {index.family}, labels in [{low:g}, {high:g}]",
        f"text: {'ids of the file' if index.text_source == 'text_bert' else 'tokenised raw_text'}, "
        f"tokenizer {tokenizer.name} ({tokenizer.vocab_size or 'unknown'} ids, {vocabulary})",
        f"features: {', '.join(_width(index, m) for m in FRAMES)} per frame",
        *_table(index),
        *_labels(index),
        *_repairs(index),
        *_scales(index, index.scales or {}),
        *_no_clip(index),
        *(line for split in index.splits for line in natural_gaps(index, split)),
        *_videos(index),
    ]
    if index.rescaled_from is not None:
        least, most = index.rescaled_from
        lines.append(f"labels rescaled linearly from [{least:g}, {most:g}]")
    if lacking := left_out(index.family, index.label_range):
        lines.append(f"scores {lacking}")
    return "\n".join(lines)


def _videos(index: Index) -> list[str]:
    """Which splits share videos, and how far the ids could tell."""
    shared = {pair: count for pair, count in index.overlap.items() if count}
    lines = [
        f"warning: {count} {'video is' if count == 1 else 'videos are'} in both splits of {pair}: "
        "scores may flatter"
        for pair, count in shared.items()
    ]
    lines += [
        f"warning: the same clip is in both splits of {pair}: {', '.join(map(repr, clips))}"
        + (" and perhaps more" if len(clips) == NAMED else "")
        for pair, clips in (index.videos.twice if index.videos else {}).items()
    ]
    rows, videos = sum(split.rows for split in index.splits.values()), index.videos
    known = rows if videos is None else videos.understood
    if known < rows:
        lines.append(
            f"warning: {rows - known} of {rows} ids do not name their video (VIDEO$_$CLIP): "
            "whether it is in two splits was not checked; say how to find it with --group-by"
        )
    if known and not shared:
        what = "no video is" if known == rows else f"no video of the other {known} ids is"
        pattern = VIDEO if videos is None else videos.pattern
        shown = "VIDEO$_$CLIP" if pattern == VIDEO else pattern
        lines.append(f"{what} in two splits (id: {shown})")
    return lines


def _labels(index: Index) -> list[str]:
    """Where the labels of each split lie, and where that is not the training split's place."""
    if not index.label_scales:
        return []
    scales = index.label_scales.items()
    told = [f"{scale.mean:z.4g} (sd {scale.sd:.4g}) in {name}" for name, scale in scales]
    shifts = [line for split in index.label_scales if (line := label_shift(index, split))]
    return [f"labels: mean {', '.join(told)}", *(f"warning: {line}" for line in shifts)]


def label_shift(index: Index, split: SplitName) -> str:
    """Says that a split's labels lie elsewhere than the training split's; empty if they do not."""
    scales = index.label_scales or {}
    if "train" not in scales or split not in scales:
        return ""
    train, own = scales["train"], scales[split]
    shift, sd = own.mean - train.mean, max(train.sd, own.sd)
    # As if samples were independent; those of one video are not, so that this is no test.
    error = np.hypot(*(index.splits[name].rows ** -0.5 for name in ("train", split)))
    if not shift or abs(shift) < sd * max(SHIFTED, CERTAIN * error):
        return ""
    side, other = ("below", "high") if shift < 0 else ("above", "low")
    return (
        f"labels of {split} lie {abs(shift):.4g} {side} those of train (mean {own.mean:z.4g} "
        f"against {train.mean:z.4g}): where the input tells little, predictions come out too "
        f"{other}"
    )


def _scales(index: Index, scales: Mapping[FrameModality, Scale]) -> list[str]:
    """How large the features are, and which will trouble a training."""
    lines = []
    for m in (m for m in FRAMES if m in scales):
        if m in _not_looked_for(index):
            lines.append(f"{m}: not looked for (--{m} none)")
            continue
        largest_D, frames = np.array(scales[m].largest), {}
        for name in SPLITS:
            frames[name] = index.splits[name].total_lengths[m]
            if scales[m].zero_frames.get(name) == frames[name]:
                lines.append(f"warning: {m} is zero throughout {name}")
        zero = sum(scales[m].zero_frames.values()) / sum(frames.values())
        column = int(largest_D.argmax())
        lines.append(
            f"{m}: largest magnitude {largest_D[column]:.4g} (column {column}), {zero:.1%} of the "
            "frames are zero"
        )
        usual = float(np.median(largest_D[largest_D > 0])) if largest_D.any() else 0.0
        over, far = largest_D > FP16_MOST, largest_D > FAR * max(usual, 1.0)
        for wrong_D, why in (
            (over, f"beyond fp16's {FP16_MOST:.0f}; train in bf16 or fp32, or"),
            (far & ~over, f"over {FAR} times the median column's {usual:.3g};"),
        ):
            if wrong_D.any():
                lines.append(
                    f"warning: {m} {_columns(wrong_D, largest_D)}: {why} set data.normalise"
                )
    return lines


def natural_gaps(index: Index, split: SplitName) -> list[str]:
    """What of a split was never there, in lines that name the split."""
    return [f"natural gaps in {split}: {line}" for line in never_there(index, split)]


def never_there(index: Index, split: SplitName) -> list[str]:
    """Samples without a modality, and where others have gaps, the gaps of all samples."""
    lines, rows = [], index.splits[split].rows
    for m, of_split in (index.gaps or {}).items():
        if m in _not_looked_for(index):
            continue
        found, absent = of_split[split], of_split[split].absent or 0
        if absent:
            has = "has" if absent == 1 else "have"
            lines.append(f"{absent} of {counted(rows, 'sample')} {has} no {m}")
        if found.samples > absent:
            share = found.places / index.splits[split].total_lengths[m]
            lines.append(
                f"{m}: {counted(found.places, GAP[m])} in {counted(found.runs, 'run')} within "
                f"{found.samples} of {counted(rows, 'sample')} ({share:.1%} of its places)"
                + ", those without any included"
                * bool(absent)
            )
    return lines


def _not_looked_for(index: Index) -> list[str]:
    """Modalities that were left out when clips were extracted."""
    settings = (index.extraction or {}).get("settings", {})
    return [m for m in FRAMES if settings.get(m) == "none"]


def _no_clip(index: Index) -> list[str]:
    """Of extracted data, the rows whose clips were not found."""
    if not index.no_clip:
        return []
    rows, more = sum(split.rows for split in index.splits.values()), len(index.no_clip) > NAMED
    named = ", ".join(map(repr, index.no_clip[:NAMED])) + ", ..." * more
    return [
        f"warning: {len(index.no_clip)} of {rows} rows have no clip (their text alone is used): "
        f"{named}"
    ]


def _columns(wrong_D: NDArray[np.bool_], largest_D: NDArray[np.float64]) -> str:
    found = np.flatnonzero(wrong_D)
    named = ", ".join(f"{i} ({largest_D[i]:.4g})" for i in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"column {named}{more}"


def _table(index: Index) -> list[str]:
    written = sum(shard.bytes for split in index.splits.values() for shard in split.shards)
    head = f"{'split':<7}{'rows':>9}{'shards':>8}{'MB':>10}"
    head += "".join(f"{m + ' mean/max':>20}" for m in MODALITIES)
    lines = [head]
    for name in SPLITS:
        split = index.splits[name]
        size = sum(shard.bytes for shard in split.shards) / 1e6
        line = f"{name:<7}{split.rows:>9}{len(split.shards):>8}{size:>10.1f}"
        for m in MODALITIES:
            mean = split.total_lengths[m] / split.rows
            line += f"{f'{mean:.1f} / {split.max_lengths[m]}':>20}"
        lines.append(line)
    padded = "".join(f"{index.padded_lengths[m]:>20}" for m in MODALITIES)
    lines.append(f"{'padded':<34}{padded}")
    # Of extracted clips the source is their table, whose size says nothing.
    told = index.source.bytes and index.extraction is None
    share = f", {written / index.source.bytes:.1%} of the source" if told else ""
    lines.append(f"shards: {_mb(written)}{share}")
    return lines


def _width(index: Index, modality: FrameModality) -> str:
    wide = any(f"{modality}.{FLOAT64}" in found for found in index.repairs.values())
    return f"{modality} {index.widths[modality]}" + " (float64, stored as float32)" * wide


def _repairs(index: Index) -> list[str]:
    unsaid = () if index.extraction is None else MARKED
    lines = [
        f"repaired in {name}: {line}"
        for name in SPLITS
        for line in in_words(index, name, unsaid=unsaid)
    ]
    return lines or ["nothing had to be repaired"]


def in_words(index: Index, split: SplitName, *, unsaid: Collection[str] = ()) -> list[str]:
    """A split's repairs, a line each but for those of the kinds ``unsaid``.

    Numbers stored in float32 lose nothing that counts here.
    """
    lines = []
    for what, count in index.repairs[split].items():
        field, _, kind = what.rpartition(".")
        if kind == "beyond_length":
            kept = {str(m): n for m, n in index.splits[split].total_lengths.items()}[field]
            share = f" ({count / (count + kept):.1%} of its frames)"
        else:
            share = ""
        if kind not in (FLOAT64, *unsaid):
            meaning = MEANING.get(kind, kind)
            if count == 1:
                noun, _, rest = meaning.partition(" ")
                rest = rest.replace("were", "was", 1).replace("do not", "does not", 1)
                meaning = f"{noun.removesuffix('s')} {rest}"
            lines.append(f"{field}: {count} {meaning}{share}")
    return lines


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
