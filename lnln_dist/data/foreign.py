"""Layouts of feature files other than MMSA's, brought into its names: one dict of fields a split.

Understood: the same dict under other names (MulT, MultiBench: ``labels``, ``dev``; clips of
MMSA-FET: ``video``, no axis of samples), and lists of samples (MAG, MISA: ``((words, visual,
acoustic), label, segment)``).
"""

import reprlib
from collections.abc import Collection
from typing import Any

from lnln_dist.data.schema import FRAMES, SPLITS
from lnln_dist.data.unpickle import kind_of, refusal, shown
from lnln_dist.data.values import depth, text
from lnln_dist.errors import DataError

# What others call a split or a field; a file's own MMSA name goes first.
SPLIT_NAMES = {"dev": "valid", "val": "valid", "validation": "valid"}
FIELD_NAMES = {
    "labels": "regression_labels",
    "video": "vision",
    "visual": "vision",
    "acoustic": "audio",
}
# Fields that have one value a sample and no axis beside.
ROWS = ("id", "raw_text", "regression_labels", "audio_lengths", "vision_lengths")
ONE_SPLIT = "all"  # name of the samples of a file without splits


def _name(key: Any) -> str:
    string = key.decode("utf-8", "replace") if isinstance(key, bytes) else key
    return text(string) if isinstance(string, str) else reprlib.repr(string)


def by_name(content: dict[Any, Any], others: dict[str, str], where: str) -> dict[str, Any]:
    """A dict with strings for names, those of other layouts translated.

    Raises:
        DataError: two entries of one name, or two foreign names for one thing.
    """
    named: dict[str, Any] = {}
    for key, value in content.items():
        if (name := _name(key)) in named and isinstance(key, str | bytes):
            raise DataError(f"{where}: two entries are named {shown(name)}: leave one of them out")
        named[name] = value
    for own in dict.fromkeys(others.values()):
        given = [o for o, meant in others.items() if meant == own and named.get(o) is not None]
        if given and named.get(own) is None:
            if len(given) > 1:
                raise _two_names(given, own, where)
            named[own] = named.pop(given[0])
    return named


def _two_names(names: list[str], own: str, where: str) -> DataError:
    return DataError(f"{where}: {' and '.join(names)} both mean {own}: leave one of them out")


def split_name(given: str, names: Collection[str]) -> str:
    """The split meant by a name that may be another layout's, such as ``dev``."""
    return given if given in names else SPLIT_NAMES.get(given, given)


def listed(names: Any) -> str:
    """Names out of a file for a message."""
    return ", ".join(shown(name) for name in names) or "nothing"


def find_splits(content: Any, name: str) -> tuple[dict[str, Any], str]:
    """The splits of a file by name, each as the file has it, and the names found, for messages.

    Raises:
        DataError: it is nothing that has splits.
    """
    if what := refusal(content):
        raise DataError(f"{name}: the file would run code: {what} is refused")
    if _is_samples(content):
        return {ONE_SPLIT: content}, "a list of samples"
    if not isinstance(content, dict):
        raise DataError(f"{name}: holds {kind_of(content)}, not a dict with train, valid and test")
    named = by_name(content, SPLIT_NAMES, name)
    for other in SPLIT_NAMES:
        if _is_split(named.get(other)):  # its own name is there, too
            raise _two_names([SPLIT_NAMES[other], other], SPLIT_NAMES[other], name)
    splits = {key: v for key, v in named.items() if key in SPLITS or _is_split(v)}
    if not splits and _is_split(content):
        splits = {ONE_SPLIT: content}
    return splits, listed(named)


def _is_split(value: Any) -> bool:
    if isinstance(value, dict):
        return set(FRAMES) <= {FIELD_NAMES.get(name, name) for name in map(_name, value)}
    return _is_samples(value)


def _is_samples(value: Any) -> bool:
    """Whether it is a list of samples as MAG and MISA have them."""
    for length in (None, (2, 3), (3, 4)):
        if not isinstance(value, list | tuple) or not value:
            return False
        if length is not None and len(value) not in length:
            return False
        value = value[0]
    return True


def split_fields(content: Any, where: str) -> dict[str, Any]:
    """The fields of a split by their MMSA names, each with one row per sample.

    Raises:
        DataError: it is neither a dict of fields nor a list of samples.
    """
    if isinstance(content, dict):
        fields = by_name(content, FIELD_NAMES, where)
        return _with_sample_axis(fields) if _is_one_clip(fields) else fields
    if _is_samples(content):
        return _transposed(content, where)
    raise DataError(f"{where}: holds {kind_of(content)}, not a dict of fields")


def _transposed(samples: Any, where: str) -> dict[str, Any]:
    """Fields of ``((words, visual, acoustic[, words as strings]), label[, segment])``."""
    for row, sample in enumerate(samples):
        if not _is_samples([sample]) or len(sample) != len(samples[0]):
            raise DataError(
                f"{where}: sample {row} is not ((words, visual, acoustic), label, segment) as the "
                "first one is"
            )
    inputs = [sample[0] for sample in samples]
    fields = {
        "words": [parts[3 if len(parts) > 3 else 0] for parts in inputs],
        "vision": [parts[1] for parts in inputs],
        "audio": [parts[2] for parts in inputs],
        "regression_labels": [sample[1] for sample in samples],
    }
    if len(samples[0]) > 2:
        fields["id"] = [sample[2] for sample in samples]
    return fields


def _is_one_clip(fields: dict[str, Any]) -> bool:
    """Whether the axis of samples is missing, as in a clip on its own."""
    if any(depth(fields.get(m)) != 2 for m in FRAMES):
        return False
    if fields.get("text_bert") is not None and depth(fields["text_bert"]) != 2:
        return False
    # Vectors of several samples look like the frames of one: whatever has as many rows tells.
    count, *other = {len(fields[m]) for m in FRAMES}
    ruled = (fields[name] for name in ROWS if depth(fields.get(name)))
    return bool(other) or count < 2 or all(len(value) != count for value in ruled)


def _with_sample_axis(fields: dict[str, Any]) -> dict[str, Any]:
    whole = ("text_bert", "words", *FRAMES)
    return {
        name: [value] if name in whole or depth(value) == 0 else value
        for name, value in fields.items()
    }
