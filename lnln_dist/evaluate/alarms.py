"""Signs that scores mean less than they seem to: collapsed predictions, scores that a constant
reaches, swapped F1 arguments.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lnln_dist.classes import Family, class_values, cut
from lnln_dist.metrics import DIRECTION
from lnln_dist.report.seeds import floor_of, over_rates

SMALL_SPREAD = 0.05  # of the labels' standard deviation
ONE_SIDED = 0.95  # share of the predictions on one side of zero, or of one class
OFTEN = 0.05  # share of the labels from which a class should be told sometimes
HEAVY = 0.5  # missing rate from which noise is heavy
CLEARLY = 0.05  # F1 above accuracy: more than honest predictors of MOSI-like balance show
PAIRS = (("acc2_non0", "f1_non0"), ("acc2_has0", "f1_has0"), ("acc2", "f1"))


def collapse(prediction: ArrayLike, label: ArrayLike) -> str:
    """How far predictions [n] have become a constant or a single class; empty if they have not.

    One-sided predictions only count where the labels [n] are not one-sided themselves; labels that
    are all the same tell nothing.
    """
    pred, true = np.asarray(prediction, np.float64), np.asarray(label, np.float64)
    if not true.std():
        return ""
    if pred.std() < SMALL_SPREAD * true.std():
        return f"standard deviation {pred.std():.2g} against {true.std():.2g} of the labels"
    shares = {"above": ((pred > 0).mean(), (true > 0).mean())}
    shares["not above"] = tuple(1 - s for s in shares["above"])
    for side, (predicted, real) in shares.items():
        if predicted > ONE_SIDED >= real:
            return f"{predicted:.0%} of them {side} 0"
    return ""


def collapse_of_classes(prediction: ArrayLike, label: ArrayLike, family: Family, count: int) -> str:
    """How far decisions [n] on a class have become one, or leave one out; empty if they have not.

    Args:
        prediction: the value of the class decided on.
        label: the true sentiment.
        family: whose classes.
        count: how many.
    """
    told_C, real_C = (
        np.bincount(cut(x, family, count), minlength=count) / np.size(x)
        for x in (prediction, label)
    )
    if real_C.max() == 1:  # nothing is left out that there could be
        return ""
    for value, told, real in zip(class_values(family, count), told_C, real_C, strict=True):
        if told > ONE_SIDED >= real:
            return f"{told:.0%} of them class {value:g}"
        if told == 0 and real >= OFTEN:
            return f"none is class {value:g}, which {real:.0%} of the labels are"
    return ""


def no_better_than_constant(metrics: pd.DataFrame, names: Sequence[str]) -> str:
    """Which mean scores over the missing rates the best constant reaches; empty if none.

    Args:
        metrics: one run's rows of metrics.csv, the best constants' among them.
        names: the scores.
    """
    means, floors = over_rates(metrics), floor_of(metrics)
    reached = [
        f"mean {name} {means[name]:.4f} (best constant {floors[name]:.4f})"
        for name in names
        if name in means and (means[name] - floors[name]) * DIRECTION[name] <= 0
    ]
    return f"no better than a constant: {', '.join(reached)}" if reached else ""


def collapse_line(run: str, found: Sequence[tuple[str, str]]) -> str:
    """One line for a run's collapsed conditions, given as (rate or pattern, reason)."""
    where = dict.fromkeys(condition for condition, _ in found)
    rates = [name for name in where if name[0].isdigit()]
    others = [name for name in where if name not in rates]
    parts = [f"at missing rate {', '.join(rates)}"] * bool(rates)
    parts += [f"under {', '.join(others)}"] * bool(others)
    return f"{run}: predictions collapse {' and '.join(parts)} ({found[-1][1]})"


def swapped(metrics: pd.DataFrame) -> str:
    """Whether weighted F1 lies clearly above accuracy under heavy noise; empty if not.

    Before April 2025 published F1 values had truth and prediction swapped, which shows so. On
    labels of one class (a constant reaches accuracy 1) F1 is above accuracy by itself.

    Args:
        metrics: one run's rows of metrics.csv, the best constants' among them.
    """
    rate = metrics[["rate_text", "rate_audio", "rate_vision"]].max(axis=1)
    heavy = metrics[rate >= HEAVY]
    means = heavy.groupby("metric")["value"].mean()
    floors = metrics[rate.isna()].groupby("metric")["value"].max()
    for accuracy, f1 in PAIRS:
        if floors.get(accuracy) == 1:
            continue
        if accuracy in means and f1 in means and means[f1] > means[accuracy] + CLEARLY:
            return (
                f"mean {f1} {means[f1]:.4f} lies clearly above mean {accuracy} "
                f"{means[accuracy]:.4f} at missing rates >= {HEAVY}: the sign of truth and "
                "prediction swapped in F1, or of predictions that favour the rarer class"
            )
    return ""
