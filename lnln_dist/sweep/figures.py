"""Figures of a sweep: objective against each axis, maps of two axes, rungs; no Ray.

Values of a grid or a choice stand side by side; drawn numbers stand where they lie.
"""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from lnln_dist.errors import UserError
from lnln_dist.sweep.collect import Results, SettingResult

MOST_PAIRS = 6  # maps of two axes drawn; many axes make more pairs than anybody looks at
SIZE = (6.4, 4.2)  # inches


def draw(results: Results) -> list[Path]:
    """Writes ``figures/*.png``; returns their paths.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as err:
        raise UserError("a sweep's figures need matplotlib: pip install 'lnln-dist[ray]'") from err
    mpl.use("Agg")
    folder = results.folder.path / "figures"
    folder.mkdir(exist_ok=True)
    made = []
    for stratum in results.space.strata:
        picture = _Stratum(results, stratum)
        if not picture.started:
            continue
        suffix = "" if stratum == "all" else f"_{stratum}"
        plots: dict[str, Callable[[Any], None]] = {"rungs": picture.rungs}
        for axis in picture.varied:
            plots[f"objective_{axis}"] = picture.against(axis)
        for one, other in list(itertools.combinations(picture.varied, 2))[:MOST_PAIRS]:
            plots[f"heat_{one}_{other}"] = picture.heat(one, other)
        made += [_save(folder / f"{name}{suffix}.png", plot) for name, plot in plots.items()]
    return made


def _save(path: Path, plot: Callable[[Any], None]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    plot(figure.add_subplot())
    figure.savefig(path, dpi=120)
    return path


class _Stratum:
    """What the figures of one stratum show."""

    def __init__(self, results: Results, stratum: str) -> None:
        self.results = results
        self.name = stratum
        sweep, table = results.space.sweep, results.table
        self.curves: dict[str, list[float]] = {}
        """Mean best objective after each epoch that all screening seeds have, by setting."""
        if not table.empty:
            rows = table[
                (table.stratum == stratum) & table.seed.isin(sweep.seeds[: sweep.screen.seeds])
            ]
            found = rows.groupby(["setting", "epoch"]).best.agg(["mean", "size"])
            means = found["mean"][found["size"] == sweep.screen.seeds]
            means = means.replace([math.inf, -math.inf], math.nan)
            self.curves = {str(name): curve.tolist() for name, curve in means.groupby("setting")}
        self.started = [s for s in results.settings if s.setting.name in self.curves]
        # Settings are compared where all of them have been: early for those that went further.
        self.epoch = min((len(c) for c in self.curves.values()), default=0)
        self.varied = [axis for axis in sweep.axes if len(self._ticks(axis)) > 1]

    def _places(self, *axes: str) -> pd.DataFrame:
        """Where each setting stands on some axes of a figure, and its ``early`` objective."""
        rows = [
            {axis: self._place(axis, s) for axis in axes}
            | {"early": self.curves[s.setting.name][self.epoch - 1]}
            for s in self.started
        ]
        return pd.DataFrame(rows)

    def _ticks(self, axis: str) -> list[Any]:
        """The axis's values among the settings, numbers in order."""
        values = {str(s.setting.values[axis]): s.setting.values[axis] for s in self.started}
        numbers = all(isinstance(v, int | float) for v in values.values())
        return sorted(values.values()) if numbers else list(values.values())

    def _drawn(self, axis: str) -> bool:
        """Its values were drawn from an interval."""
        given = self.results.space.sweep.axes[axis]
        return bool(given.uniform or given.loguniform)

    def _place(self, axis: str, result: SettingResult) -> float:
        """Where a setting stands on an axis of a figure."""
        value = result.setting.values[axis]
        if self._drawn(axis):
            return float(value)
        return [str(tick) for tick in self._ticks(axis)].index(str(value))

    def _scale(self, ax: Any, which: str, axis: str) -> None:
        """Names the x or y axis of a figure and gives it its scale or its ticks."""
        ax.set(**{f"{which}label": axis})
        if not self._drawn(axis):
            ticks = self._ticks(axis)
            ax.set(**{f"{which}ticks": range(len(ticks)), f"{which}ticklabels": map(str, ticks)})
        elif self.results.space.sweep.axes[axis].loguniform:
            ax.set(**{f"{which}scale": "log"})

    @property
    def _colours(self) -> str:
        return "viridis" if self.results.direction > 0 else "viridis_r"

    def _title(self, text: str) -> str:
        return text if self.name == "all" else f"{self.name}: {text}"

    def against(self, axis: str) -> Callable[[Any], None]:
        """Objective of every setting over one axis, early and confirmed."""

        def plot(ax: Any) -> None:
            found = self._places(axis).sort_values(axis, kind="stable")
            word = f"after {self.epoch} epoch{'s' * (self.epoch > 1)}"
            label = f"settings {word}"
            ax.plot(found[axis], found.early, "o", mfc="none", color="tab:gray", label=label)
            if not self._drawn(axis):  # draws do not repeat: there is no mean at any of them
                means = found.groupby(axis).early.mean()
                ax.plot(means.index, means, color="tab:gray", label=f"mean {word}")
            for result in self.results.ranked(self.name):
                value = result.confirmed[self.results.metric]
                ax.errorbar(
                    self._place(axis, result),
                    value.mean,
                    yerr=None if math.isnan(value.sd) else value.sd,
                    fmt="s",
                    color="tab:blue",
                    label="confirmed (mean, sd over seeds)",
                )
            self._scale(ax, "x", axis)
            ax.set_ylabel(self.results.metric)
            ax.set_title(self._title(f"{self.results.metric} against {axis}"))
            handles, labels = ax.get_legend_handles_labels()
            once = dict(zip(labels, handles, strict=True))
            ax.legend(once.values(), once.keys(), frameon=False)

        return plot

    def heat(self, one: str, other: str) -> Callable[[Any], None]:
        """Mean objective over two axes, where all settings have been."""
        means = self._places(one, other).groupby([one, other]).early.mean()

        def points(ax: Any) -> None:
            ys, xs = (means.index.get_level_values(axis) for axis in (one, other))
            finish(ax, ax.scatter(xs, ys, c=means, s=60, ec="w", cmap=self._colours))

        def cells(ax: Any) -> None:
            ticks = [range(len(self._ticks(axis))) for axis in (one, other)]
            grid = means.unstack(other).reindex(index=ticks[0], columns=ticks[1])
            image = ax.imshow(grid, aspect="auto", cmap=self._colours)
            for y, x, value in means.dropna().reset_index().itertuples(index=False):
                box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none"}
                ax.text(x, y, f"{value:.3f}", ha="center", va="center", bbox=box)
            finish(ax, image)

        def finish(ax: Any, image: Any) -> None:
            self._scale(ax, "x", other)
            self._scale(ax, "y", one)
            ax.set_title(self._title(f"{self.results.metric} after epoch {self.epoch}"))
            ax.figure.colorbar(image, ax=ax)

        return points if self._drawn(one) or self._drawn(other) else cells

    def rungs(self, ax: Any) -> None:
        """Every setting's way through the screening, and where it stopped."""
        for result in self.started:
            curve = self.curves[result.setting.name]
            chosen = result.verdict.chosen
            style: dict[str, Any] = {"color": "tab:blue" if chosen else "tab:gray"}
            label = result.setting.name if chosen else None
            ax.plot(range(1, len(curve) + 1), curve, lw=2 if chosen else 0.8, label=label, **style)
            if not chosen:
                ax.plot(len(curve), curve[-1], "x", ms=4, **style)
        for ladder in self.results.plan.rungs.get(self.name, []):
            for rung in ladder[:-1]:
                ax.axvline(rung.epoch, color="tab:orange", lw=0.6, ls=":")
        ax.set_xlabel("epoch (dotted: decisions, x: stopped)")
        ax.set_ylabel(f"best {self.results.metric} so far")
        ax.set_title(self._title("screening"))
        if any(s.verdict.chosen for s in self.started):
            ax.legend(frameon=False, fontsize="small")
