"""Evaluations as terminal tables: one per run, and one that compares runs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import pandas as pd
from rich.box import Box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lnln_dist.metrics import DIRECTION, METRICS
from lnln_dist.report.calibration import COMPLETENESS, described
from lnln_dist.report.seeds import CONSTANT, RANDOM, floor_of, over_rates, over_runs, over_seeds

# A line under the head, blank lines between sections; ASCII, so that any terminal shows it.
PLAIN = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
WIDE = 100_000  # columns no table reaches, to ask for its natural width


def show(metrics: pd.DataFrame, summary: Mapping[str, Any], *, file: IO[str] | None = None) -> None:
    """Prints an evaluation: a table per run, a comparison, notes and alarms.

    A table is never cut: where it is wider than the terminal, or there is none, it is printed
    at its natural width.

    Args:
        metrics: the rows of metrics.csv.
        summary: evaluation.json.
        file: where to; None is standard output.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    for part in render(metrics, summary, unicode=not console.options.ascii_only):
        if isinstance(part, str):
            console.print(Text(part), soft_wrap=True)
            continue
        natural = Measurement.get(console, console.options.update(max_width=WIDE), part).maximum
        console.width = max(console.width, natural)
        console.print(part)
        console.print()


def render(
    metrics: pd.DataFrame, summary: Mapping[str, Any], *, unicode: bool = True
) -> Iterator[str | Table]:
    """The lines and tables that ``show`` prints."""
    for record in summary["runs"]:
        own = metrics[metrics["run"] == record["run"]]
        yield f"{record['run']}: {_heading(own, record, summary)}"
        yield from (f"note: {note}" for note in record["notes"])
        yield from _completeness(record)
        yield run_table(own, family=record["family"], unicode=unicode)
    if len(summary["runs"]) > 1 and summary["rates"]:
        for family in dict.fromkeys(record["family"] for record in summary["runs"]):
            groups = {r["run"]: r["group"] for r in summary["runs"] if r["family"] == family}
            yield "all runs:"
            yield comparison_table(metrics, groups, family=family, unicode=unicode)
    yield f"{CONSTANT}: the best that any constant prediction reaches, for each score apart"
    yield from (f"alarm: {line}" for line in summary["alarms"])


def _heading(own: pd.DataFrame, record: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    chosen = ", ".join(dict.fromkeys(own["selected_on"].dropna()))
    seeds = ", ".join(map(str, summary["noise_seeds"]))
    absent = f", without {' and '.join(summary['absent'])}" if summary.get("absent") else ""
    return (
        f"{record['dataset']} {summary['split']} (n = {record['samples']}), protocol "
        f"{summary['protocol']}{absent}, noise seeds {seeds}, checkpoint {summary['checkpoint']} "
        f"(selected on: {chosen})"
    )


def _completeness(record: Mapping[str, Any]) -> Iterator[str]:
    """Whether the completeness that a model predicts follows the rate."""
    for name, note in record.get("checkpoints", {}).items():
        if told := note.get(COMPLETENESS):
            of = f" ({name})" if len(record["checkpoints"]) > 1 else ""
            yield f"predicted completeness{of}: {described(told)}"


def run_table(metrics: pd.DataFrame, *, family: str, unicode: bool = True) -> Table:
    """One run: a row per condition, the mean over the rates, the constant floor.

    Args:
        metrics: the run's rows of metrics.csv.
        family: whose metrics, in their order.
        unicode: arrows beside the metric names; else ``^`` (higher is better) and ``v``.
    """
    names = METRICS[family]  # type: ignore[index]
    table = _table("missing", names, unicode)
    cells = over_seeds(metrics)
    random = [(_rate(rate), cells.loc[p, rate]) for p, rate in cells.index if p == RANDOM]
    others = [(p, cells.loc[p, rate]) for p, rate in cells.index if p != RANDOM]
    for label, values in random:
        _add(table, label, names, values)
    if len(random) > 1:
        table.add_section()
        _add(table, "mean", names, over_rates(metrics), style="bold")
    if others and random:
        table.add_section()
    for label, values in others:
        _add(table, label, names, values)
    table.add_section()
    _add(table, CONSTANT, names, floor_of(metrics), style="dim")
    return table


def comparison_table(
    metrics: pd.DataFrame, groups: Mapping[str, str], *, family: str, unicode: bool = True
) -> Table:
    """Several runs of one family: means over the rates, and mean and sd of runs that share a group.

    Args:
        metrics: the rows of metrics.csv of these runs.
        groups: run name -> what it shares with runs that differ in the training seed alone.
        family: whose metrics.
        unicode: as in ``run_table``.
    """
    names = METRICS[family]  # type: ignore[index]
    table = _table("mean over rates", names, unicode)
    means = {run: over_rates(metrics[metrics["run"] == run]) for run in groups}
    for group in dict.fromkeys(groups.values()):
        members = [run for run in groups if groups[run] == group]
        for run in members:
            _add(table, run, names, means[run])
        if len(members) > 1:
            found = over_runs([means[run] for run in members])
            _add(table, f"mean of {len(members)} seeds", names, found["mean"], style="bold")
            _add(table, "sd over seeds", names, found["sd"])
            table.add_section()
    floors = {run: floor_of(metrics[metrics["run"] == run]) for run in groups}
    if len({tuple(f.items()) for f in map(_comparable, floors.values())}) == 1:
        table.add_section()
        _add(table, CONSTANT, names, next(iter(floors.values())), style="dim")
    return table


def _table(first: str, names: Sequence[str], unicode: bool) -> Table:
    up, down = ("\u2191", "\u2193") if unicode else ("^", "v")
    table = Table(box=PLAIN, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(Text(first), no_wrap=True)
    for name in names:
        head = f"{name.replace('_', chr(10))} {up if DIRECTION[name] > 0 else down}"
        table.add_column(Text(head), justify="right", no_wrap=True, vertical="bottom")
    return table


def _add(
    table: Table,
    label: str,
    names: Sequence[str],
    values: "Mapping[str, Any] | pd.Series[float]",
    *,
    style: str = "",
) -> None:
    cells = [_number(values.get(name, math.nan)) for name in names]
    table.add_row(Text(label), *map(Text, cells), style=style)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def _comparable(floor: Mapping[str, float]) -> dict[str, str]:
    return {name: _number(value) for name, value in floor.items()}
