"""What came of a sweep: one table of its trials and epochs; the winner by confirmed means alone."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from statistics import stdev
from typing import NamedTuple

import pandas as pd

from lnln_dist.errors import UserError, install
from lnln_dist.metrics import BOUNDS
from lnln_dist.sweep.folder import load
from lnln_dist.sweep.planner import Verdict
from lnln_dist.sweep.records import Record
from lnln_dist.sweep.space import Setting
from lnln_dist.sweep.state import Standing
from lnln_dist.sweep.study import Span

NAMES = ("trial", "stratum", "setting", "seed", "epoch", "best")  # of a table without rows
ANYWHERE: Span = (-math.inf, math.inf)


class Estimate(NamedTuple):
    """A mean over seeds. ``sd`` and the interval are nan for fewer than two."""

    n: int
    mean: float
    sd: float
    low: float  # 95 % interval of the mean (Student's t)
    high: float


def estimate(values: Sequence[float], within: Span = ANYWHERE) -> Estimate:
    """Mean, standard deviation (n - 1) and interval of some values; nan values count as such.

    Args:
        within: bounds of what is measured, which the interval does not leave.
    """
    n = len(values)
    if n < 2:
        return Estimate(n, values[0] if values else math.nan, math.nan, math.nan, math.nan)
    try:
        from lnln_dist.report.intervals import student
    except ImportError as err:
        raise UserError(f"a sweep's summary needs SciPy: {install('ray')}") from err
    found = student(values).within(*within)
    sd = math.nan if math.isnan(found.error) else stdev(values)
    return Estimate(n, found.value, sd, found.low, found.high)


class Results(Standing):
    """A sweep's folder as it stands, also while the sweep runs.

    Raises:
        CheckpointError: no sweep there, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        folder, space = load(path)
        super().__init__(space, folder)
        self.settings = space.settings

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per trial and epoch: settings, scores, and the best objective so far."""
        rows = []
        for made, seed, record in self.trials:
            costs = record.progress(self.metric, self.direction).costs
            for row, cost in zip(record.epochs, costs, strict=True):
                rows.append(
                    {
                        "trial": made.trial(seed),
                        "stratum": made.stratum,
                        "setting": made.name,
                        "seed": seed,
                        **{f"axis:{name}": value for name, value in made.values.items()},
                        "confirmed": self.verdict(made).chosen,
                        "epoch": row.epoch,
                        "step": row.step,
                        "time": row.time,
                        "best": -self.direction * cost,
                        **row.scores,
                    }
                )
        return pd.DataFrame(rows, columns=None if rows else NAMES)

    @property
    def trials(self) -> list[tuple[Setting, int, Record]]:
        """Every setting with every seed, and what came of them."""
        return [(m, seed, record) for m in self.settings for seed, record in self.of(m).items()]

    def of(self, made: Setting) -> dict[int, Record]:
        """What came of each seed of a setting."""
        return {seed: self.records[made.name, seed] for seed in self.space.sweep.seeds}

    @cached_property
    def kept(self) -> pd.DataFrame:
        """By trial, the epoch whose checkpoint it keeps: the first with the best objective."""
        last = self.table.groupby("trial").best.transform("last")
        return self.table[self.table.best == last].drop_duplicates("trial").set_index("trial")

    @property
    def peopled(self) -> list[str]:
        """Strata that have settings; one is empty for good if all its own equal some of another."""
        found = {made.stratum for made in self.settings} | self.space.unfilled
        return [stratum for stratum in self.space.strata if stratum in found]

    @property
    def barren(self) -> list[str]:
        """Strata that have ended without a winner, since those that would have been failed."""
        decided = self.peopled if self.over else []
        return [stratum for stratum in decided if self.winner(stratum) is None]

    @property
    def full_grid(self) -> int:
        """Epochs of every setting on every seed to the end."""
        return sum(made.epochs for made, _, _ in self.trials)

    def verdict(self, made: Setting) -> Verdict:
        """What the screening says of a setting; one that failed has passed no milestone."""
        found, records = self.plan.verdicts[made.name], self.of(made).values()
        # One that a scheduler of Ray's has stopped counts as through for the planner.
        ends = [0] if found.cost == math.inf else [len(r.epochs) for r in records if r.note.stopped]
        return found._replace(epoch=min(found.epoch, *ends)) if ends else found

    def trained(self, made: Setting) -> int:
        """Epochs of all its seeds."""
        return sum(len(record.epochs) for record in self.of(made).values())

    def failures(self, made: Setting) -> dict[int, str]:
        """Seed -> reason."""
        found = self.of(made).items()
        return {seed: record.failure for seed, record in found if record.failure is not None}

    def complete(self, made: Setting) -> bool:
        """Chosen, and all seeds are trained to the end."""
        finished = all(record.finished for record in self.of(made).values())
        return self.verdict(made).chosen and finished

    def through(self, made: Setting) -> pd.DataFrame:
        """The kept epochs of the seeds that were trained to the end; none unless it was chosen."""
        done = [seed for seed, record in self.of(made).items() if record.finished]
        return self.kept.loc[[made.trial(s) for s in done if self.verdict(made).chosen]]

    def confirmed(self, made: Setting) -> dict[str, Estimate]:
        """Score -> over the seeds trained to the end, each at its kept epoch."""
        rows = self.through(made)
        if rows.empty:
            return {}
        names = self.records[made.name, int(rows.seed.iloc[0])].epochs[0].scores
        return {name: estimate(rows[name].tolist(), BOUNDS[name]) for name in names}

    def fresh(self, made: Setting) -> Estimate:
        """The objective over those of them that had no say in the screening, if there was one."""
        rows, sweep = self.through(made), self.space.sweep
        if rows.empty:
            return estimate([])
        screened = sweep.seeds[: sweep.screen.seeds] if self.verdict(made).epoch else ()
        return estimate(rows[self.metric][~rows.seed.isin(screened)].tolist(), BOUNDS[self.metric])

    def ranked(self, stratum: str) -> list[Setting]:
        """The complete settings of a stratum, best mean objective first."""

        def cost(made: Setting) -> float:
            mean = self.confirmed(made)[self.metric].mean
            return math.inf if math.isnan(mean) else -self.direction * mean

        return sorted((s for s in self._members(stratum) if self.complete(s)), key=cost)

    def winner(self, stratum: str) -> Setting | None:
        """The best of the confirmed settings; None while one of them is not through."""
        chosen = [made for made in self._members(stratum) if self.verdict(made).chosen]
        if not all(self.complete(made) or self.failures(made) for made in chosen):
            return None
        return next(iter(self.ranked(stratum)), None)

    def lead(self, stratum: str) -> Estimate | None:
        """By how much the winner beats the next, seed by seed; positive is better."""
        ranked = self.ranked(stratum)
        if self.winner(stratum) is None or len(ranked) < 2:
            return None
        first, second = (self.through(made)[self.metric].to_numpy() for made in ranked[:2])
        return estimate((self.direction * (first - second)).tolist())

    def _members(self, stratum: str) -> list[Setting]:
        return [made for made in self.settings if made.stratum == stratum]
