"""Classes of the sentiment: where they lie on the labels' axis, and how one is decided on.

MOSI and MOSEI: labels rounded (half to even) after clipping to +-1, +-2 or +-3; three classes are
negative, neutral and positive. CH-SIMS: intervals, open on the left. These are the classes of the
scores acc7, acc5 and acc3 (arXiv 2409.20012, section 4.2), and each is a union of finer ones.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Family = Literal["mosi", "sims"]
COUNTS: dict[Family, tuple[int, ...]] = {"mosi": (7, 5, 3), "sims": (5, 3)}
TINY = 1e-12  # least probability told apart from none

_SIMS_EDGES: dict[int, tuple[float, ...]] = {5: (-0.7, -0.1, 0.1, 0.7), 3: (-0.1, 0.1), 2: (0.0,)}
_SIMS_VALUES: dict[int, tuple[float, ...]] = {5: (-1.0, -0.4, 0.0, 0.4, 1.0), 3: (-1.0, 0.0, 1.0)}


class Targets(NamedTuple):
    """What the samples of a split are trained to be."""

    class_N: NDArray[np.int64]  # number of the label's class
    weight_N: NDArray[np.float32]  # of that class in the loss; their mean is 1


def class_values(family: Family, count: int) -> NDArray[np.float32]:
    """A label in the middle of each class (at the end of the range in the outer ones), rising."""
    if family == "sims":
        return np.array(_SIMS_VALUES[count], np.float32)
    return np.arange(count, dtype=np.float32) - count // 2


def cut(value: ArrayLike, family: Family, count: int) -> NDArray[np.int64]:
    """Number of the class each value lies in, from 0 for the most negative.

    Args:
        value: of any shape, finite.
        family: whose classes.
        count: how many: of ``COUNTS``, or the two sides of zero of SIMS.
    """
    x = np.asarray(value, np.float64)
    if family == "mosi":
        bound = count // 2
        return np.rint(np.clip(x, -bound, bound).astype(np.float32)).astype(np.int64) + bound
    # The data are float32: compared in float64, a label of -0.7 or 0.1 would lie above the edge of
    # the same name and fall into the next class.
    edges = np.array(_SIMS_EDGES[count], np.float32)
    return np.searchsorted(edges, x.astype(np.float32), side="left").astype(np.int64)


def targets(label: ArrayLike, family: Family, count: int, *, balanced: bool) -> Targets:
    """Classes of a training split's labels [n] and their weights.

    Args:
        label: the true sentiment.
        family: whose classes.
        count: how many.
        balanced: weigh each class that occurs by n / (occurring classes * its samples), so that all
            count the same; else every sample counts the same.
    """
    class_N = cut(label, family, count)
    weight_N = np.ones(len(class_N), np.float32)
    if balanced:
        samples_C = np.bincount(class_N, minlength=count)
        shared = len(class_N) / np.count_nonzero(samples_C)
        weight_N = (shared / samples_C[class_N]).astype(np.float32)
    return Targets(class_N, weight_N)


def decide(probability_NC: ArrayLike, threshold_C: Sequence[float] | None) -> NDArray[np.int64]:
    """The class whose probability is the largest multiple of its threshold; None: the likeliest.

    With two classes that is the usual threshold on the probability of one.
    """
    p = np.asarray(probability_NC, np.float64)
    if threshold_C is None:
        return np.asarray(np.argmax(p, axis=1), np.int64)
    offset_C = -np.log(np.asarray(threshold_C, np.float64))
    return np.asarray(np.argmax(_log(p) + offset_C, axis=1), np.int64)


def fit_thresholds(probability_NC: ArrayLike, class_N: NDArray[np.int64]) -> tuple[float, ...]:
    """Thresholds, adding up to 1, under which ``decide`` has the best macro-F1 found.

    Coordinate ascent from equal thresholds: each is moved to the best of all places where it
    changes anything, the others held, until none gains. Deterministic.

    Args:
        probability_NC: of every class.
        class_N: the true one.
    """
    log_NC = _log(np.asarray(probability_NC, np.float64))
    count = log_NC.shape[1]
    offset_C, best = np.zeros(count), macro_f1_of(decide(probability_NC, None), class_N, count)
    gained = True
    while gained:
        gained = False
        for number in range(count):
            score, offset = _best_offset(log_NC, offset_C, class_N, number)
            if score > best + TINY:
                gained, best = True, score
                offset_C[number] = offset
    threshold_C = np.exp(offset_C.min() - offset_C)
    return tuple((threshold_C / threshold_C.sum()).tolist())


def macro_f1(
    hits: NDArray[np.number], supports: NDArray[np.number], claims: NDArray[np.number]
) -> NDArray[np.float64]:
    """Mean F1 of the classes that occur in truth or prediction (as scikit-learn's default).

    Args:
        hits: [..., C], samples of a class decided to be of it.
        supports: [..., C], samples of a class.
        claims: [..., C], samples decided to be of a class.

    Returns:
        [...]; nan where no class occurs.
    """
    total = np.asarray(supports + claims, np.float64)
    f1 = np.divide(np.multiply(2.0, hits), total, out=np.zeros_like(total), where=total > 0)
    occurring = np.count_nonzero(total > 0, axis=-1)
    undefined = np.full(f1.shape[:-1], np.nan)
    return np.asarray(np.divide(f1.sum(-1), occurring, out=undefined, where=occurring > 0))


def macro_f1_of(told_N: NDArray[np.int64], true_N: NDArray[np.int64], count: int) -> float:
    """``macro_f1`` of decisions on one of ``count`` classes."""
    hits, supports, claims = (
        np.bincount(x, minlength=count) for x in (true_N[told_N == true_N], true_N, told_N)
    )
    return float(macro_f1(hits, supports, claims))


def _log(probability_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.maximum(probability_NC, TINY))
    return logs


def _best_offset(
    log_NC: NDArray[np.float64],
    offset_C: NDArray[np.float64],
    class_N: NDArray[np.int64],
    number: int,
) -> tuple[float, float]:
    """The best macro-F1 that moving one class' offset reaches, and that offset.

    Sorted by the offset from which the class wins it, the samples fall to it one by one.
    """
    size, count = log_NC.shape
    rivals_NC = log_NC + offset_C
    rivals_NC[:, number] = -np.inf
    rival_N = rivals_NC.argmax(axis=1)
    needed_N = rivals_NC.max(axis=1) - log_NC[:, number]
    order = np.argsort(needed_N, kind="stable")
    needed_N, rival_N, true_N = needed_N[order], rival_N[order], class_N[order]
    lost = np.eye(count)[rival_N]  # what the rivals lose, sample by sample
    claims, hits = _left(lost), _left(lost * (rival_N == true_N)[:, None])
    claims[:, number] = np.arange(size + 1)
    hits[1:, number] = np.cumsum(true_N == number)
    scores = macro_f1(hits, np.bincount(class_N, minlength=count), claims)
    # Samples that fall together cannot be parted.
    scores[1:size][needed_N[1:] == needed_N[:-1]] = -1.0
    won = int(scores.argmax())
    between = np.concatenate([[needed_N[0] - 1.0], needed_N, [needed_N[-1] + 1.0]])
    return float(scores[won]), float((between[won] + between[won + 1]) / 2)


def _left(lost_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of a sum when its first 0, 1, ..., N rows are gone, [N + 1, C]."""
    gone = np.concatenate([np.zeros((1, lost_NC.shape[1])), np.cumsum(lost_NC, axis=0)])
    left: NDArray[np.float64] = gone[-1] - gone
    return left
