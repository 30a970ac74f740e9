"""Figures of a report for a paper: curves with bands and completeness, as PNG and PDF."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lnln_dist.metrics import DIRECTION
from lnln_dist.report.conditions import Condition
from lnln_dist.report.models import Model
from lnln_dist.report.seeds import RANDOM

SIZE = (5.2, 3.6)  # inches
# Okabe and Ito's colours, which the colour-blind can tell apart; as on the page.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0508a", "#8a6d00", "#3a3f8f", "#5d6770", "#7a3b12")
LINES = ("-", "--", ":")


def curves(models: Sequence[Model], metric: str) -> Figure:
    """One score of the models of a protocol over its conditions, with 95 % bands."""
    figure, ax = _axes()
    conditions = [Condition(*at) for at in models[0].curve]
    rates = all(at.pattern == RANDOM for at in conditions)
    x = [at.rate for at in conditions] if rates else list(range(len(conditions)))
    for i, model in enumerate(models):
        points = list(model.curve.values())
        low, high = ([getattr(p, side) for p in points] for side in ("low", "high"))
        value, style = [p.value for p in points], _style(i)
        if rates:
            ax.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)
            ax.plot(x, value, label=model.name, **style)
        else:
            ax.errorbar(x, value, _beside(value, low, high), fmt="o", label=model.name, **style)
    if np.isfinite(models[0].floor):
        ax.axhline(models[0].floor, color="gray", ls=":", lw=1, label="best constant")
    ax.set(xlabel="missing rate" if rates else "", ylabel=_axis(metric))
    if not rates:
        names = [at.name for at in conditions]
        ax.set_xticks(x, names, rotation=30, ha="right")
    ax.legend(frameon=False)
    return figure


def completeness(
    models: Sequence[str], tables: Sequence[dict[float, tuple[float, float]]]
) -> Figure:
    """Predicted against true completeness.

    Args:
        models: names.
        tables: per model, missing rate -> mean and spread over samples; empty without any.
    """
    figure, ax = _axes()
    ax.plot([0, 1], [0, 1], color="gray", ls=":", lw=1, label="calibrated")
    for i, (name, table) in enumerate(zip(models, tables, strict=True)):
        if table:
            left = [1 - rate for rate in table]
            mean, spread = (np.array(values) for values in zip(*table.values(), strict=True))
            style = _style(i)
            ax.fill_between(
                left, mean - spread, mean + spread, color=style["color"], alpha=0.15, lw=0
            )
            ax.plot(left, mean, label=name, **style)
    ax.set(xlabel="share that is left", ylabel="predicted completeness")
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


def _axis(metric: str) -> str:
    return f"{metric} ({'higher' if DIRECTION[metric] > 0 else 'lower'} is better)"


def _beside(
    value: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> NDArray[np.float64]:
    return np.stack([np.subtract(value, low), np.subtract(high, value)])
