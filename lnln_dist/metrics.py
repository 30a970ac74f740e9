"""Scores of sentiment predictions, their constant-predictor floors and robustness summaries.

Families: ``mosi`` (CMU-MOSI, CMU-MOSEI; labels in [-3, 3]) and ``sims`` (CH-SIMS; [-1, 1]).
Classes are cut as ``classes`` says; their macro-F1 is kept beside the scores that the papers print.
The definitions are those of the LNLN paper (arXiv 2409.20012, section 4.2) and its released code
after the correction of the F1 arguments. For labels in another range the scores that are still
defined are given, the others are nan. Values are fractions, not per cent, and not rounded;
tables of the released code are rounded to 4 places.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lnln_dist.classes import COUNTS, class_values, cut, macro_f1_of
from lnln_dist.classes import Family as Family  # it is theirs, too

METRICS: dict[Family, tuple[str, ...]] = {
    "mosi": (
        *("acc7", "acc5", "acc3", "acc2_non0", "f1_non0", "acc2_has0", "f1_has0"),
        *("mae", "corr"),
    ),
    "sims": ("acc5", "acc3", "acc2", "f1", "mae", "corr"),
}
MACRO: dict[Family, tuple[str, ...]] = {
    family: tuple(f"f1_macro{count}" for count in counts) for family, counts in COUNTS.items()
}
ALL: dict[Family, tuple[str, ...]] = {family: METRICS[family] + MACRO[family] for family in METRICS}
DIRECTION: dict[str, Literal[1, -1]] = {
    name: -1 if name == "mae" else 1 for names in ALL.values() for name in names
}
# Between which values a score lies; an interval does not leave them.
BOUNDS = dict.fromkeys(DIRECTION, (0.0, 1.0)) | {"mae": (0.0, math.inf), "corr": (-1.0, 1.0)}
LABEL_RANGE: dict[Family, tuple[float, float]] = {"mosi": (-3.0, 3.0), "sims": (-1.0, 1.0)}
_BINARY = ("acc2_non0", "f1_non0", "acc2_has0", "f1_has0", "acc2", "f1")  # need a zero inside
_ANY_RANGE = ("mae", "corr")


class Robustness(NamedTuple):
    """One score over the missing rates."""

    mean: float  # over the rates, each counting the same: the papers' headline number
    area: float  # trapezoid under the curve over the rates, divided by the rates' span
    worst: float  # the worst value at any rate
    drop: float  # from the lowest to the highest rate; positive means it got worse


def names(family: Family, count: int = 0) -> tuple[str, ...]:
    """The scores of a model that tells one of so many classes (0: a number), in their order.

    Classes have the scores of their own number and of the unions that fewer classes are.
    """
    if not count:
        return ALL[family]
    known = [n for n in COUNTS[family] if n <= count]
    return tuple(f"{score}{n}" for score in ("acc", "f1_macro") for n in known)


def headlines(family: Family, count: int = 0) -> tuple[str, ...]:
    """Those of ``names`` that tables show."""
    return names(family, count) if count else METRICS[family]


def defined(family: Family, label_range: tuple[float, float], count: int = 0) -> tuple[str, ...]:
    """Those of ``names`` that mean something for labels in a range.

    Classes of several steps are cut for the family's own range; two classes need labels on both
    sides of zero; error and correlation suit any range.
    """
    if tuple(label_range) == LABEL_RANGE[family]:
        return names(family, count)
    low, high = label_range
    kept = _ANY_RANGE + (_BINARY if low < 0 < high else ())
    return tuple(name for name in names(family, count) if name in kept)


def left_out(family: Family, label_range: tuple[float, float]) -> str:
    """Which scores labels in a range leave undefined, as a line; empty if none."""
    kept = defined(family, label_range)
    lacking = [name for name in ALL[family] if name not in kept]
    if not lacking:
        return ""
    (low, high), (least, most) = label_range, LABEL_RANGE[family]
    return (
        f"left out, as not defined for labels in [{low:g}, {high:g}]: {', '.join(lacking)} "
        f"(prepare --rescale-labels maps the labels onto [{least:g}, {most:g}])"
    )


def scores(
    prediction: ArrayLike,
    label: ArrayLike,
    family: Family,
    label_range: tuple[float, float] | None = None,
) -> dict[str, float]:
    """All scores of a family, in the order of ``ALL[family]``.

    Args:
        prediction: [n], any finite numbers.
        label: [n], the true sentiment.
        family: which definitions apply.
        label_range: lowest and highest possible label; None: the family's.

    Returns:
        Name -> value. nan stands for what is undefined: any score outside ``defined``; ``corr``
        if prediction or label is constant, or n = 1; ``acc2_non0`` and ``f1_non0`` if every
        label is zero.

    Raises:
        ValueError: shapes differ or are not [n], n is 0, a value is not finite, or the family
            is unknown.
    """
    pred, true = _checked(prediction, label, family)
    label_range = label_range or LABEL_RANGE[family]
    found = _mosi(pred, true) if family == "mosi" else _sims(pred, true, label_range)
    meant = defined(family, label_range)
    return {name: value if name in meant else math.nan for name, value in found.items()}


def floors(
    label: ArrayLike, family: Family, label_range: tuple[float, float] | None = None
) -> dict[str, float]:
    """The best value of each score that any constant predictor can reach on these labels.

    Class scores depend on a constant only through the class it falls into, so one value per class
    is tried (the F1 of the best class included); the mean absolute error is least at the median.
    Each score has its own best constant: no single one need reach all floors at once.

    Args:
        label: [n], the true sentiment.
        family: which definitions apply.
        label_range: lowest and highest possible label; None: the family's.

    Returns:
        Name -> value; nan where ``scores`` has it, and for ``corr``, since a constant has no
        correlation.

    Raises:
        ValueError: as for ``scores``.
    """
    true = np.asarray(label, dtype=np.float64)
    _checked(true, true, family)
    label_range = label_range or LABEL_RANGE[family]
    median = float(np.median(np.clip(true, *label_range) if family == "sims" else true))
    # One value in every class of every score: no other constant can do better there.
    constants = (*class_values(family, COUNTS[family][0]), median)
    tables = [scores(np.full_like(true, c), true, family, label_range) for c in constants]
    best = {}
    for name in ALL[family]:
        values = [table[name] for table in tables]
        best[name] = max(values) if DIRECTION[name] > 0 else min(values)
    return best


def robustness(values: Mapping[float, float], *, direction: Literal[1, -1]) -> Robustness:
    """Sums a score's values over missing rates up in four numbers.

    Args:
        values: missing rate in [0, 1] -> value of one score; at least one rate, in any order.
        direction: ``DIRECTION`` of the score; decides what worst and drop mean.

    Returns:
        The summary; all four are nan if a value is nan (an undefined correlation). The area of a
        single rate is its value.

    Raises:
        ValueError: no rate, or a rate outside [0, 1].
    """
    if not values:
        raise ValueError("robustness needs the score at one missing rate or more, got none")
    for rate in values:
        if not 0 <= rate <= 1:
            raise ValueError(f"missing rates lie in [0, 1], got {rate}")
    ordered = sorted(values.items())
    if any(math.isnan(value) for _, value in ordered):
        return Robustness(math.nan, math.nan, math.nan, math.nan)
    rates = np.array([r for r, _ in ordered], dtype=np.float64)
    value = np.array([v for _, v in ordered], dtype=np.float64)
    span = rates[-1] - rates[0]
    area = np.trapezoid(value, rates) / span if span > 0 else value[0]
    worst = value.min() if direction > 0 else value.max()
    drop = direction * (value[0] - value[-1])
    return Robustness(float(value.mean()), float(area), float(worst), float(drop))


def _checked(
    prediction: ArrayLike, label: ArrayLike, family: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 [n], or ValueError."""
    if family not in METRICS:
        raise ValueError(f"unknown family {family!r}: choose one of {', '.join(METRICS)}")
    pred = np.asarray(prediction, dtype=np.float64)
    true = np.asarray(label, dtype=np.float64)
    if pred.shape != true.shape or pred.ndim != 1:
        raise ValueError(
            f"predictions {list(pred.shape)} and labels {list(true.shape)} must both be [n]"
        )
    if pred.size == 0:
        raise ValueError("there is nothing to score: predictions and labels are empty")
    for name, array in (("predictions", pred), ("labels", true)):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise ValueError(f"{bad} of {array.size} {name} are not finite")
    return pred, true


def _mosi(pred: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    """Scores of MOSI and MOSEI; error and correlation on unclipped values."""
    out, macro = _of_classes(pred, true, "mosi")
    # Clipping keeps every sign and keeps the cast to the data's type from overflowing.
    pred_32, true_32 = (np.clip(x, -3, 3).astype(np.float32) for x in (pred, true))
    told = true_32 != 0
    out |= _binary(pred_32[told] > 0, true_32[told] > 0, "acc2_non0", "f1_non0")
    out |= _binary(pred_32 >= 0, true_32 >= 0, "acc2_has0", "f1_has0")
    out |= {"mae": float(np.abs(pred - true).mean()), "corr": _pearson(pred, true)}
    return out | macro


def _sims(
    pred: NDArray[np.float64], true: NDArray[np.float64], label_range: tuple[float, float]
) -> dict[str, float]:
    """Scores of SIMS; everything on values clipped to the label range."""
    pred, true = np.clip(pred, *label_range), np.clip(true, *label_range)
    out, macro = _of_classes(pred, true, "sims")
    out |= _binary(cut(pred, "sims", 2) == 1, cut(true, "sims", 2) == 1, "acc2", "f1")
    out |= {"mae": float(np.abs(pred - true).mean()), "corr": _pearson(pred, true)}
    return out | macro


def _of_classes(
    pred: NDArray[np.float64], true: NDArray[np.float64], family: Family
) -> tuple[dict[str, float], dict[str, float]]:
    """Accuracies, and macro-F1 scores, of each number of classes."""
    accuracy, macro = {}, {}
    for count in COUNTS[family]:
        claimed, real = cut(pred, family, count), cut(true, family, count)
        accuracy[f"acc{count}"] = float((claimed == real).mean())
        macro[f"f1_macro{count}"] = macro_f1_of(claimed, real, count)
    return accuracy, macro


def _binary(
    pred: NDArray[np.bool_], true: NDArray[np.bool_], accuracy: str, f1: str
) -> dict[str, float]:
    """Accuracy and weighted F1 of two classes under the given names; nan without samples."""
    if true.size == 0:
        return {accuracy: math.nan, f1: math.nan}
    return {accuracy: float((pred == true).mean()), f1: _weighted_f1(true, pred)}


def _weighted_f1(true: NDArray[np.bool_], pred: NDArray[np.bool_]) -> float:
    """F1 of both classes, weighted by their share in the truth.

    Truth first: with the arguments swapped the weights are the prediction's, and a constant
    predictor that is right on a share p scores 2p / (1 + p) instead of 2p^2 / (1 + p).
    """
    total = 0.0
    for side in (False, True):
        in_truth, told = true == side, pred == side
        hit = int(np.count_nonzero(in_truth & told))
        support, claimed = int(np.count_nonzero(in_truth)), int(np.count_nonzero(told))
        if hit:
            total += support * 2 * hit / (support + claimed)
    return total / true.size


def _pearson(pred: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Pearson correlation; nan if either side is constant."""
    # Asked of the values themselves: the variance of equal numbers need not round to zero.
    if np.all(pred == pred[0]) or np.all(true == true[0]):
        return math.nan
    x, y = (_unit_centred(v) for v in (pred, true))
    return float(np.clip(x @ y, -1.0, 1.0))


def _unit_centred(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean removed, length one; scaled first so that no square overflows or vanishes."""
    scaled = x / np.abs(x).max()
    centred = scaled - scaled.mean()
    centred /= np.abs(centred).max()
    unit: NDArray[np.float64] = centred / np.linalg.norm(centred)
    return unit
