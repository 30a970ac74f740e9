"""The import report: an index in words."""

from lnln_dist.config import MODALITIES
from lnln_dist.data.schema import SPLITS, Index

# Repairs by the part of their name after the field: what happened, and what was counted.
MEANING = {
    "nan": "values were NaN: set to 0",
    "plus_inf": "values were +inf (or too large for float32): set to 0",
    "minus_inf": "values were -inf (or too large for float32): set to 0",
    "float64": "samples were float64: stored as float32",
    "empty": "sequences had no frames: one frame of zeros each",
    "cut": "sequences were longer than the places kept: ends cut off",
    "over_padding": "lengths exceeded the padded sequence: cut to it",
    "beyond_length": "frames after the end of their sequence were not zero: dropped",
    "length_from_mask": "lengths were missing: taken from the text's attention mask",
    "length_from_zeros": "lengths were missing: taken as the last frame that is not zero",
    "last_not_sep": "sentences do not end with [SEP]: kept as they are",
    "no_words": "sentences were empty: [CLS] and [SEP] only",
}


def describe(index: Index) -> str:
    """Rows, lengths, sizes, repairs and shared videos of prepared data, several lines of text."""
    low, high = index.label_range
    tokenizer = index.tokenizer
    vocabulary = tokenizer.vocab_sha256[:12] if tokenizer.vocab_sha256 else "hash unknown"
    lines = [
        f"{index.dataset} from {index.source.name} ({_mb(index.source.bytes)}, sha256 "
        f"{index.source.sha256[:12]}): family {index.family}, labels in [{low:g}, {high:g}]",
        f"text: {'ids of the file' if index.text_source == 'text_bert' else 'tokenised raw_text'}, "
        f"tokenizer {tokenizer.name} ({tokenizer.vocab_size or 'unknown'} ids, {vocabulary})",
        f"features: audio {index.widths['audio']}, vision {index.widths['vision']} per frame",
        *_table(index),
        *_repairs(index),
    ]
    shared = {pair: count for pair, count in index.overlap.items() if count}
    for pair, count in shared.items():
        lines.append(f"warning: {count} videos are in both splits of {pair}: scores may flatter")
    if not shared:
        lines.append("no video is in two splits")
    return "\n".join(lines)


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
    share = f"{written / index.source.bytes:.1%}" if index.source.bytes else "unknown"
    lines.append(f"shards: {_mb(written)}, {share} of the source")
    return lines


def _repairs(index: Index) -> list[str]:
    lines = []
    for name in SPLITS:
        for what, count in index.repairs[name].items():
            field, _, kind = what.rpartition(".")
            lines.append(f"repaired in {name}: {field}: {count} {MEANING.get(kind, kind)}")
    return lines or ["nothing had to be repaired"]


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
