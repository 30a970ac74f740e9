"""Figures of a sweep: objective against each axis, maps of two axes, rungs; no Ray.

Values of a grid or a choice stand side by side; drawn numbers stand where they lie.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from lnln_dist.errors import UserError, install
from lnln_dist.sweep.results import Results

MOST_PAIRS = 6  # maps of two axes drawn; many axes make more pairs than anybody looks at
SIZE = (6.4, 4.2)  # inches


def draw(results: Results) -> None:
    """Writes ``figures/*.png``.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as err:
        raise UserError(f"a sweep's figures need matplotlib: {install('ray')}") from err
    from matplotlib.figure import Figure

    mpl.use("Agg")
    folder = results.folder.path / "figures"
    folder.mkdir(exist_ok=True)
    for stratum in results.space.strata:
        picture = Stratum(results, stratum)
        plots: dict[str, Callable[[Any], None]] = {"rungs": picture.rungs} if picture.curves else {}
        for axis in picture.varied:
            plots[f"objective_{axis}"] = picture.against(axis)
        for one, other in list(itertools.combinations(picture.varied, 2))[:MOST_PAIRS]:
            plots[f"heat_{one}_{other}"] = picture.heat(one, other)
        suffix = "" if stratum == "all" else f"_{stratum}"
        for name, plot in plots.items():
            figure = Figure(figsize=SIZE, layout="constrained")
            ax = figure.add_subplot()
            plot(ax)
            ax.set_title(suffix[1:] + ": " * bool(suffix) + ax.get_title())
            figure.savefig(folder / f"{name}{suffix}.png", dpi=120)


class Stratum:
    """What the figures of one stratum show.

    Attributes:
        curves: mean best objective after each epoch that all screening seeds have, by setting.
        epoch: the last that all settings have had, where they are compared: early for most.
        places: by setting, its place on each axis of a figure, and its ``early`` objective.
    """

    def __init__(self, results: Results, stratum: str) -> None:
        self.results, self.name = results, stratum
        sweep, rows = results.space.sweep, results.table
        self.curves: dict[str, list[float]] = {}
        if not rows.empty:
            rows = rows[
                rows.stratum.eq(stratum) & rows.seed.isin(sweep.seeds[: sweep.screen.seeds])
            ]
            found = rows.groupby(["setting", "epoch"]).best.agg(["mean", "size"])
            means = found["mean"][found["size"] == sweep.screen.seeds]
            means = means.replace([math.inf, -math.inf], math.nan)
            self.curves = {str(name): curve.tolist() for name, curve in means.groupby("setting")}
        self.epoch = min(map(len, self.curves.values()), default=0)
        self.values = {s.name: s.values for s in results.settings if s.name in self.curves}
        self.ticks = {axis: self._ticks(axis) for axis in sweep.axes}
        self.varied = [axis for axis, ticks in self.ticks.items() if len(ticks) > 1]
        self.places = pd.DataFrame(
            {
                "early": {name: self.curves[name][self.epoch - 1] for name in self.values},
                **{
                    axis: {name: self._place(axis, own[axis]) for name, own in self.values.items()}
                    for axis in self.varied
                },
            }
        )

    def _ticks(self, axis: str) -> list[Any]:
        """The axis's values among the settings, numbers in order."""
        values = {str(own[axis]): own[axis] for own in self.values.values()}
        numbers = all(isinstance(v, int | float) for v in values.values())
        return sorted(values.values()) if numbers else list(values.values())

    def _drawn(self, axis: str) -> bool:
        """Its values were drawn from an interval."""
        return self.results.space.sweep.axes[axis].kind in ("uniform", "loguniform")

    def _place(self, axis: str, value: Any) -> float:
        return (
            float(value)
            if self._drawn(axis)
            else list(map(str, self.ticks[axis])).index(str(value))
        )

    def _scale(self, ax: Any, which: str, axis: str) -> None:
        """Names the x or y axis of a figure and gives it its scale or its ticks."""
        ax.set(**{f"{which}label": axis})
        if not self._drawn(axis):
            ticks = self.ticks[axis]
            ax.set(**{f"{which}ticks": range(len(ticks)), f"{which}ticklabels": map(str, ticks)})
        elif self.results.space.sweep.axes[axis].loguniform:
            ax.set(**{f"{which}scale": "log"})

    def against(self, axis: str) -> Callable[[Any], None]:
        """Objective of every setting over one axis, early and confirmed."""
        metric = self.results.metric

        def plot(ax: Any) -> None:
            found = self.places.sort_values(axis, kind="stable")
            word = f"after {self.epoch} epoch{'s' * (self.epoch > 1)}"
            style = {"mfc": "none", "color": "tab:gray", "label": f"settings {word}"}
            ax.plot(found[axis], found.early, "o", **style)
            if not self._drawn(axis):  # draws do not repeat: there is no mean at any of them
                means = found.groupby(axis).early.mean()
                ax.plot(means.index, means, color="tab:gray", label=f"mean {word}")
            best = self.results.ranked(self.name)
            values = [self.results.confirmed(made)[metric] for made in best]
            if values:
                ax.errorbar(
                    [self.places[axis][made.name] for made in best],
                    [value.mean for value in values],
                    yerr=[0.0 if math.isnan(value.sd) else value.sd for value in values],
                    fmt="s",
                    label="confirmed (mean, sd over seeds)",
                )
            self._scale(ax, "x", axis)
            ax.set(ylabel=metric, title=f"{metric} against {axis}")
            ax.legend(frameon=False)

        return plot

    def heat(self, one: str, other: str) -> Callable[[Any], None]:
        """Mean objective over two axes, where all settings have been."""
        means = self.places.groupby([one, other]).early.mean()
        colours = "viridis" if self.results.direction > 0 else "viridis_r"

        def plot(ax: Any) -> None:
            if self._drawn(one) or self._drawn(other):
                ys, xs = (means.index.get_level_values(axis) for axis in (one, other))
                image = ax.scatter(xs, ys, c=means, s=60, ec="w", cmap=colours)
            else:
                rows, columns = (range(len(self.ticks[axis])) for axis in (one, other))
                grid = means.unstack(other).reindex(index=rows, columns=columns)
                image = ax.imshow(grid, aspect="auto", cmap=colours)
                for y, x, value in means.dropna().reset_index().itertuples(index=False):
                    box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none"}
                    ax.text(x, y, f"{value:.3f}", ha="center", va="center", bbox=box)
            self._scale(ax, "x", other)
            self._scale(ax, "y", one)
            ax.set_title(f"{self.results.metric} after epoch {self.epoch}")
            ax.figure.colorbar(image, ax=ax)

        return plot

    def rungs(self, ax: Any) -> None:
        """Every setting's way through the screening, and where it stopped."""
        for name, curve in self.curves.items():
            chosen = self.results.plan.verdicts[name].chosen
            style: dict[str, Any] = {"color": "tab:blue" if chosen else "tab:gray"}
            label = name if chosen else None
            ax.plot(range(1, len(curve) + 1), curve, lw=2 if chosen else 0.8, label=label, **style)
            if not chosen:
                ax.plot(len(curve), curve[-1], "x", ms=4, **style)
        for ladder in self.results.plan.rungs.get(self.name, []):
            for rung in ladder[:-1]:
                ax.axvline(rung.epoch, color="tab:orange", lw=0.6, ls=":")
        ax.set(xlabel="epoch (dotted: decisions, x: stopped)", title="screening")
        ax.set_ylabel(f"best {self.results.metric} so far")
        if any(self.results.plan.verdicts[name].chosen for name in self.curves):
            ax.legend(frameon=False, fontsize="small")
