"""Trials -> one result per setting and stratum; the winner by confirmed means alone; no Ray."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import pandas as pd

from lnln_dist.errors import UserError
from lnln_dist.metrics import DIRECTION
from lnln_dist.sweep.folder import Folder, load
from lnln_dist.sweep.planner import Plan, Verdict
from lnln_dist.sweep.records import Epoch, Record
from lnln_dist.sweep.space import Setting, Space
from lnln_dist.sweep.state import passed_over, plan_of
from lnln_dist.sweep.study import Span

CONFIDENCE = 0.95
ANYWHERE = (-math.inf, math.inf)


class Estimate(NamedTuple):
    """A mean over seeds. ``sd`` and the interval are nan for fewer than two."""

    n: int
    mean: float
    sd: float
    low: float  # 95 % interval of the mean (Student's t)
    high: float


def bounds(metric: str) -> Span:
    """Between which values a score lies."""
    return {"mae": (0.0, math.inf), "corr": (-1.0, 1.0)}.get(metric, (0.0, 1.0))


def estimate(values: Sequence[float], within: Span = ANYWHERE) -> Estimate:
    """Mean, standard deviation (n - 1) and interval of some values; nan values count as such.

    Args:
        within: bounds of what is measured, which the interval does not leave.
    """
    n = len(values)
    if n < 2 or not all(map(math.isfinite, values)):
        mean = fmean(values) if values else math.nan
        return Estimate(n, mean, math.nan, math.nan, math.nan)
    mean, sd = fmean(values), stdev(values)
    half = _student(n - 1) * sd / math.sqrt(n)
    low, high = within
    return Estimate(n, mean, sd, max(low, mean - half), min(high, mean + half))


def _student(freedom: int) -> float:
    try:
        from scipy.stats import t
    except ImportError as err:
        raise UserError("a sweep's summary needs SciPy: pip install 'lnln-dist[ray]'") from err
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


@dataclass(frozen=True)
class SettingResult:
    """One setting."""

    setting: Setting
    verdict: Verdict
    records: Mapping[int, Record]
    """By seed."""
    confirmed: Mapping[str, Estimate]
    """Metric -> over the seeds trained to the end, each at its best epoch; empty unless chosen."""
    fresh: Estimate
    """The objective over those of them that had no say in the screening."""
    passed_over: bool = False
    """It goes no further."""

    @property
    def complete(self) -> bool:
        """Chosen, and all seeds are trained to the end."""
        return self.verdict.chosen and all(r.finished for r in self.records.values())

    @property
    def failures(self) -> dict[int, str]:
        """Seed -> reason."""
        return {s: r.failure for s, r in self.records.items() if r.failure is not None}


@dataclass(frozen=True)
class Results:
    """A sweep as it stands."""

    folder: Folder
    space: Space
    metric: str
    direction: int
    plan: Plan
    open_strata: frozenset[str]
    """Those that a sampler has not filled yet."""
    settings: list[SettingResult]

    @property
    def over(self) -> bool:
        """Nothing is left to train."""
        return not self.open_strata and not self.plan.segments

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per trial and epoch."""
        return pd.DataFrame(report_rows(self))

    @property
    def epochs(self) -> int:
        """Epochs trained so far."""
        return sum(len(r.epochs) for s in self.settings for r in s.records.values())

    @property
    def full_grid(self) -> int:
        """Epochs of every setting on every seed to the end."""
        return sum(s.setting.epochs * len(s.records) for s in self.settings)

    def ranked(self, stratum: str) -> list[SettingResult]:
        """The complete settings of a stratum, best mean objective first."""
        members = [s for s in self.settings if s.setting.stratum == stratum and s.complete]
        return sorted(members, key=self._cost)

    def winner(self, stratum: str) -> SettingResult | None:
        """The best of the confirmed settings; None while one of them is not through."""
        chosen = [s for s in self.settings if s.setting.stratum == stratum and s.verdict.chosen]
        if not chosen or not all(s.complete or s.failures for s in chosen):
            return None
        ranked = self.ranked(stratum)
        return ranked[0] if ranked else None

    def lead(self, stratum: str) -> Estimate | None:
        """By how much the winner beats the next, seed by seed; positive is better."""
        ranked = self.ranked(stratum)
        if self.winner(stratum) is None or len(ranked) < 2:
            return None
        first, second = (
            {seed: self.best(record).scores[self.metric] for seed, record in s.records.items()}
            for s in ranked[:2]
        )
        return estimate([self.direction * (first[seed] - second[seed]) for seed in first])

    def best(self, record: Record) -> Epoch:
        """The epoch whose checkpoint a run kept: the first with the best objective."""
        return best_epoch(record, self.metric, self.direction)

    def _cost(self, result: SettingResult) -> float:
        mean = result.confirmed[self.metric].mean
        return math.inf if math.isnan(mean) else -self.direction * mean


def best_epoch(record: Record, metric: str, direction: int) -> Epoch:
    """The first epoch with the best objective; an undefined one is never better."""
    best = record.epochs[0]
    for row in record.epochs[1:]:
        old, new = best.scores[metric], row.scores[metric]
        if math.isnan(old) or (new - old) * direction > 0:
            best = row
    return best


def collect(path: Path) -> Results:
    """Reads a sweep's folder, also while the sweep runs.

    Raises:
        CheckpointError: no sweep there, or a damaged one.
    """
    folder, space = load(path)
    metric = space.common.select.metric
    direction = DIRECTION[metric]
    records = folder.records(space)
    still_open = space.unfilled - folder.exhausted(space)
    planned = plan_of(space, records, metric, direction, still_open)
    gone = passed_over(space, records, planned)
    return Results(
        folder,
        space,
        metric,
        direction,
        planned,
        still_open,
        [
            replace(
                _result(made, space, planned, records, metric, direction),
                passed_over=made.name in gone,
            )
            for made in space.settings
        ],
    )


def _result(
    made: Setting,
    space: Space,
    planned: Plan,
    records: Mapping[tuple[str, int], Record],
    metric: str,
    direction: int,
) -> SettingResult:
    own = {seed: records[made.name, seed] for seed in space.sweep.seeds}
    verdict = planned.verdicts[made.name]
    if verdict.cost == math.inf:
        verdict = verdict._replace(epoch=0)  # failed: it has passed no milestone
    through = {seed: best_epoch(r, metric, direction) for seed, r in own.items() if r.finished}
    if not verdict.chosen:
        through = {}
    names = next(iter(through.values())).scores if through else {}
    confirmed = {
        name: estimate([row.scores[name] for row in through.values()], bounds(name))
        for name in names
    }
    # Without a screening every seed is fresh.
    screened = verdict.epoch > 0
    fresh = space.sweep.seeds[space.sweep.screen.seeds if screened else 0 :]
    values = [through[seed].scores[metric] for seed in fresh if seed in through]
    return SettingResult(made, verdict, own, confirmed, estimate(values, bounds(metric)))


def report_rows(results: Results) -> Iterator[dict[str, object]]:
    """One row per trial and epoch, for ``sweep.csv``."""
    for result in results.settings:
        made = result.setting
        for seed, record in result.records.items():
            costs = record.progress(results.metric, results.direction).costs
            for row, cost in zip(record.epochs, costs, strict=True):
                yield {
                    "trial": made.trial(seed),
                    "stratum": made.stratum,
                    "setting": made.name,
                    "seed": seed,
                    **{f"axis:{name}": value for name, value in made.values.items()},
                    "confirmed": result.verdict.chosen,
                    "epoch": row.epoch,
                    "step": row.step,
                    "time": row.time,
                    "best": -results.direction * cost,
                    **row.scores,
                }


def to_csv(rows: Iterator[dict[str, object]]) -> str:
    """Rows with any columns as CSV text, columns in the order of their first appearance."""
    table = list(rows)
    columns = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
