"""Scores as functions of sums over samples, so that a resampled score is one product of matrices.

Every score of ``lnln_dist.metrics`` has the form f(sum over samples of terms): a resampling only
changes the samples' weights in the sums.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lnln_dist.classes import COUNTS, class_values, cut, macro_f1
from lnln_dist.metrics import LABEL_RANGE, Family

Floats = NDArray[np.float64]


class Terms(NamedTuple):
    """A score before the sum."""

    value_NS: Floats  # terms of each sample
    score: Callable[[Floats], Floats]  # sums [..., S] -> scores [...]; nan where undefined


def terms_of(
    metric: str,
    prediction_N: Floats,
    label_N: Floats,
    family: Family,
    label_range: tuple[float, float] | None = None,
) -> Terms:
    """The terms of one score.

    Args:
        metric: a name of ``metrics.ALL[family]``.
        prediction_N: predictions.
        label_N: true sentiment.
        family: which definitions apply.
        label_range: to which SIMS clips; None: the family's.
    """
    pred, true = (np.asarray(x, np.float64) for x in (prediction_N, label_N))
    if family == "sims":
        pred, true = (np.clip(x, *(label_range or LABEL_RANGE[family])) for x in (pred, true))
    if metric == "mae":
        return _share(np.abs(pred - true), np.ones_like(true))
    if metric == "corr":
        return _correlation(pred, true)
    if metric in ("acc7", "acc5", "acc3"):
        count = int(metric.removeprefix("acc"))
        return _share(cut(pred, family, count) == cut(true, family, count), np.ones_like(true))
    if metric.startswith("f1_macro"):
        count = int(metric.removeprefix("f1_macro"))
        return _macro_f1(*(np.eye(count)[cut(x, family, count)] for x in (pred, true)))
    told, above_pred, above_true = _sides(metric, pred, true, family)
    if metric.startswith("acc2"):
        return _share((above_pred == above_true) & told, told)
    return _weighted_f1(told, above_pred, above_true)


def classes(values: ArrayLike, family: Family, count: int = 0) -> NDArray[np.int64]:
    """Number of the class of each value, of a task of ``count`` classes (0: of the finest)."""
    x = np.asarray(values, np.float64)
    clipped = np.clip(x, *LABEL_RANGE[family])
    return cut(clipped, family, count or max(COUNTS[family]))


def class_names(family: Family, count: int = 0) -> tuple[str, ...]:
    """Names of ``classes``, the most negative first."""
    if count == 3:
        return "negative", "neutral", "positive"
    if family == "sims":
        return "negative", "weakly negative", "neutral", "weakly positive", "positive"
    return tuple(f"{value:g}" for value in class_values(family, count or max(COUNTS[family])))


def _sides(
    metric: str, pred: Floats, true: Floats, family: Family
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples count, and on which side of zero prediction and label lie."""
    p, t = (np.clip(x, -3, 3).astype(np.float32) for x in (pred, true))
    if family == "mosi" and metric.endswith("_has0"):
        return np.ones(len(t), np.bool_), p >= 0, t >= 0
    told = t != 0 if family == "mosi" else np.ones(len(t), np.bool_)
    return told, p > 0, t > 0


def _share(part: NDArray[np.generic], whole: NDArray[np.generic]) -> Terms:
    return Terms(
        np.stack([part, whole], -1).astype(np.float64), lambda s: _ratio(s[..., 0], s[..., 1])
    )


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Quotient; nan where there is nothing to divide by."""
    undefined = np.full(np.shape(part), np.nan)
    return np.asarray(np.divide(part, whole, out=undefined, where=whole > 0))


def _weighted_f1(
    told: NDArray[np.bool_], pred: NDArray[np.bool_], true: NDArray[np.bool_]
) -> Terms:
    columns = [told]
    for side in (False, True):
        columns += [
            told & (pred == side) & (true == side),
            told & (true == side),
            told & (pred == side),
        ]

    def score(s: Floats) -> Floats:
        hits, supports, claims = s[..., [1, 4]], s[..., [2, 5]], s[..., [3, 6]]
        f1 = np.nan_to_num(_ratio(2 * hits, supports + claims))
        return _ratio((supports * f1).sum(-1), s[..., 0])

    return Terms(np.stack(columns, -1).astype(np.float64), score)


def _macro_f1(pred_NC: Floats, true_NC: Floats) -> Terms:
    """Of classes as rows of ones and zeros."""
    parts = (pred_NC * true_NC, true_NC, pred_NC)
    return Terms(
        np.concatenate(parts, axis=-1), lambda s: np.asarray(macro_f1(*np.split(s, 3, axis=-1)))
    )


def _correlation(pred: Floats, true: Floats) -> Terms:
    # Centred, so that the differences of the sums below lose no digits.
    x, y = pred - pred.mean(), true - true.mean()
    constant = bool(np.all(pred == pred[0]) or np.all(true == true[0]))

    def score(s: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = np.moveaxis(s, -1, 0)
        spread = np.sqrt(np.clip(n * sxx - sx**2, 0, None) * np.clip(n * syy - sy**2, 0, None))
        found = np.clip(_ratio(n * sxy - sx * sy, spread), -1, 1)
        return np.full_like(found, np.nan) if constant else found

    return Terms(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1), score)
