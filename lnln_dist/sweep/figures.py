"""Figures of a sweep: objective against each axis, maps of two axes, rungs; no Ray.

Values of a grid or a choice stand side by side; drawn numbers stand where they lie.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from lnln_dist.sweep.results import Results
from lnln_dist.sweep.study import Axis

MOST_PAIRS = 6  # maps of two axes drawn; many axes make more pairs than anybody looks at
SIZE = (6.4, 4.2)  # inches


def draw(results: Results) -> None:
    """Writes ``figures/*.png``."""
    from matplotlib.figure import Figure  # not above: it takes long to import

    folder = results.folder.path / "figures"
    folder.mkdir(exist_ok=True)
    for stratum in results.space.strata:
        picture = Stratum(results, stratum)
        plots: dict[str, Callable[[Any], None]] = {"rungs": picture.rungs} if picture.epoch else {}
        for axis in picture.along:
            plots[f"objective_{axis}"] = partial(picture.against, axis)
        for one, other in list(itertools.combinations(picture.along, 2))[:MOST_PAIRS]:
            plots[f"heat_{one}_{other}"] = partial(picture.heat, one, other)
        suffix = "" if stratum == "all" else f"_{stratum}"
        for name, plot in plots.items():
            figure = Figure(figsize=SIZE, layout="constrained")
            ax = figure.add_subplot()
            plot(ax)
            ax.set_title(suffix[1:] + ": " * bool(suffix) + ax.get_title())
            figure.savefig(folder / f"{name}{suffix}.png", dpi=120)


class Along:
    """A sweep's axis along one of a figure.

    Attributes:
        place: of each setting.
        ticks: values that stand side by side, numbers in order; none if all were drawn.
    """

    def __init__(self, name: str, axis: Axis, values: Mapping[str, Any]) -> None:
        self.name, self._log = name, axis.loguniform is not None
        self.ticks: list[str] = []
        if axis.span:
            self.place = pd.Series(values)
            return
        unique = {str(value): value for value in values.values()}
        numbers = all(isinstance(value, int | float) for value in unique.values())
        self.ticks = sorted(unique, key=unique.__getitem__) if numbers else list(unique)
        self.place = pd.Series({s: self.ticks.index(str(value)) for s, value in values.items()})

    def scale(self, ax: Any, which: str) -> None:
        """Names the x or y axis of a figure and gives it its scale or its ticks."""
        ax.set(**{f"{which}label": self.name})
        if self.ticks:
            places = range(len(self.ticks))
            ax.set(**{f"{which}ticks": places, f"{which}ticklabels": self.ticks})
        elif self._log:
            ax.set(**{f"{which}scale": "log"})


class Stratum:
    """What the figures of one stratum show.

    Attributes:
        curves: [epoch, setting] mean best objective over the screening seeds; nan where one of
            them has not been.
        epoch: the last that all settings have had, where they are compared: early for most.
        early: objective there, by setting.
        along: the axes that vary.
    """

    def __init__(self, results: Results, stratum: str) -> None:
        self.results, self.name = results, stratum
        sweep, rows = results.space.sweep, results.table
        rows = rows[rows.stratum.eq(stratum) & rows.seed.isin(sweep.seeds[: sweep.screen.seeds])]
        found = rows.groupby(["epoch", "setting"]).best.agg(["mean", "size"])
        whole = found["mean"].where(found["size"] == sweep.screen.seeds)
        means = pd.DataFrame(whole.unstack("setting")).dropna(axis="columns", how="all")
        self.epoch = int(means.count().min()) if not means.empty else 0
        self.curves = means.replace([math.inf, -math.inf], math.nan)
        settings = [made for made in results.settings if made.name in means]
        self.early = pd.Series({s.name: self.curves.loc[self.epoch, s.name] for s in settings})
        along = [
            Along(name, axis, {s.name: s.values[name] for s in settings})
            for name, axis in sweep.axes.items()
        ]
        self.along = {one.name: one for one in along if one.place.nunique() > 1}

    def against(self, axis: str, ax: Any) -> None:
        """Objective of every setting over one axis, early and confirmed."""
        along, metric = self.along[axis], self.results.metric
        place = along.place.sort_values(kind="stable")
        word = f"after {self.epoch} epoch{'s' * (self.epoch > 1)}"
        style = {"mfc": "none", "color": "tab:gray", "label": f"settings {word}"}
        ax.plot(place, self.early[place.index], "o", **style)
        if along.ticks:  # draws do not repeat: there is no mean at any of them
            means = self.early.groupby(place).mean()
            ax.plot(means.index, means, color="tab:gray", label=f"mean {word}")
        best = self.results.ranked(self.name)
        values = [self.results.confirmed(made)[metric] for made in best]
        if values:
            ax.errorbar(
                [place[made.name] for made in best],
                [value.mean for value in values],
                yerr=[0.0 if math.isnan(value.sd) else value.sd for value in values],
                fmt="s",
                label="confirmed (mean, sd over seeds)",
            )
        along.scale(ax, "x")
        ax.set(ylabel=metric, title=f"{metric} against {axis}")
        ax.legend(frameon=False)

    def heat(self, one: str, other: str, ax: Any) -> None:
        """Mean objective over two axes, where all settings have been."""
        y, x = self.along[one], self.along[other]
        means = self.early.groupby([y.place.rename("y"), x.place.rename("x")]).mean()
        colours = "viridis" if self.results.direction > 0 else "viridis_r"
        if y.ticks and x.ticks:
            rows, columns = range(len(y.ticks)), range(len(x.ticks))
            grid = means.unstack("x").reindex(index=rows, columns=columns)
            image = ax.imshow(grid, aspect="auto", cmap=colours)
            box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none"}
            for row, column, value in means.dropna().reset_index().itertuples(index=False):
                ax.text(column, row, f"{value:.3f}", ha="center", va="center", bbox=box)
        else:
            ys, xs = (means.index.get_level_values(level) for level in ("y", "x"))
            image = ax.scatter(xs, ys, c=means, s=60, ec="w", cmap=colours)
        x.scale(ax, "x")
        y.scale(ax, "y")
        ax.set_title(f"{self.results.metric} after epoch {self.epoch}")
        ax.figure.colorbar(image, ax=ax)

    def rungs(self, ax: Any) -> None:
        """Every setting's way through the screening, and where it stopped."""
        verdicts = self.results.plan.verdicts
        for name in map(str, self.curves):
            means = self.curves[name]
            curve = means[: means.last_valid_index()]
            if verdicts[name].chosen:
                ax.plot(curve, lw=2, color="tab:blue", label=name)
            else:
                ax.plot(curve, lw=0.8, color="tab:gray")
                ax.plot(curve.tail(1), "x", ms=4, color="tab:gray")
        for ladder in self.results.plan.rungs.get(self.name, []):
            for rung in ladder[:-1]:
                ax.axvline(rung.epoch, color="tab:orange", lw=0.6, ls=":")
        ax.set(xlabel="epoch (dotted: decisions, x: stopped)", title="screening")
        ax.set_ylabel(f"best {self.results.metric} so far")
        if any(verdicts[str(name)].chosen for name in self.curves):
            ax.legend(frameon=False, fontsize="small")
