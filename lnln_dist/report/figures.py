"""Figures of reports and of TensorBoard: score over rate, completeness, confusion."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lnln_dist.metrics import DIRECTION

SIZE = (5.2, 3.6)  # inches
# Okabe and Ito's colours, which the colour-blind can tell apart; as on the page.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0508a", "#8a6d00", "#3a3f8f", "#5d6770", "#7a3b12")
LINES = ("-", "--", ":")


class Curve(NamedTuple):
    """One line of a figure; bounds are nan where there are none."""

    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def curves(
    lines: Mapping[str, Curve],
    metric: str,
    *,
    rates: Sequence[float] | None,
    names: Sequence[str] = (),
    floor: float = math.nan,
) -> Figure:
    """One score of some models over missing rates, or side by side over other conditions.

    Args:
        lines: by the models' names.
        metric: the score.
        rates: where the values lie; None where the conditions are no rates.
        names: of the conditions, without rates.
        floor: the best constant's score.
    """
    figure, ax = _axes()
    x = list(range(len(names))) if rates is None else list(rates)
    for i, (name, line) in enumerate(lines.items()):
        style = _style(i)
        if rates is None:
            around = np.stack(
                [np.subtract(line.value, line.low), np.subtract(line.high, line.value)]
            )
            ax.errorbar(x, line.value, around, label=name, **{**style, "ls": "none"})
        else:
            ax.fill_between(x, line.low, line.high, color=style["color"], alpha=0.15, lw=0)
            ax.plot(x, line.value, label=name, **style)
    if math.isfinite(floor):
        ax.axhline(floor, color="gray", ls=":", lw=1, label="best constant")
    better = "higher" if DIRECTION[metric] > 0 else "lower"
    ax.set(xlabel="" if rates is None else "missing rate", ylabel=f"{metric} ({better} is better)")
    if rates is None:
        ax.set_xticks(x, names, rotation=30, ha="right")
    ax.legend(frameon=False)
    return figure


def completeness(tables: Mapping[str, Mapping[float, tuple[float, float]]]) -> Figure:
    """Predicted against true completeness.

    Args:
        tables: model -> share of the text that is there -> mean and spread over samples; empty
            without any.
    """
    figure, ax = _axes()
    ax.plot([0, 1], [0, 1], color="gray", ls=":", lw=1, label="calibrated")
    for i, (name, table) in enumerate(tables.items()):
        if table:
            left = list(table)
            mean, spread = (np.array(values) for values in zip(*table.values(), strict=True))
            style = _style(i)
            ax.fill_between(
                left, mean - spread, mean + spread, color=style["color"], alpha=0.15, lw=0
            )
            ax.plot(left, mean, label=name, **style)
    ax.set(xlabel="share of the text that is there", ylabel="predicted completeness")
    ax.legend(frameon=False)
    return figure


def confusion(counts: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """Per cent of each true class (rows) by predicted class.

    Args:
        counts: [classes, classes].
        names: of the classes.
    """
    figure, ax = _axes()
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(share):
        colour = "white" if value > 60 else "black"
        ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8)
    ax.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="true")
    ax.spines[:].set_visible(False)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes PNG and PDF."""
    figure.savefig(folder / f"{name}.png", dpi=150)
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=SIZE, layout="constrained")
    ax = figure.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def _style(number: int) -> dict[str, Any]:
    line = LINES[number // len(COLOURS) % len(LINES)]
    return {"color": COLOURS[number % len(COLOURS)], "ls": line, "marker": "o", "ms": 3}
