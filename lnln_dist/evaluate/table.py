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

from lnln_dist.config import CLASSES
from lnln_dist.metrics import DIRECTION, headlines
from lnln_dist.report.calibration import COMPLETENESS, described
from lnln_dist.report.seeds import (
    CONSTANT,
    RANDOM,
    condition_name,
    floor_of,
    over_rates,
    over_runs,
    over_seeds,
    with_rate,
)

# A line under the head, blank lines between sections; ASCII, so that any terminal shows it.
PLAIN = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
ERASED = ["erased_text", "erased_audio", "erased_vision"]
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
    yield f"protocol {summary['protocol_words']}"
    shifts = dict.fromkeys(record.get("label_shift") for record in summary["runs"])
    yield from (f"note: {shift}" for shift in shifts if shift)
    for record in summary["runs"]:
        own = metrics[metrics["run"] == record["run"]]
        yield f"{record['run']}: {_heading(own, record, summary)}"
        yield from (f"note: {note}" for note in record["notes"])
        yield from _completeness(record)
        yield run_table(own, names=_names(record), unicode=unicode)
    if len(summary["runs"]) > 1:
        for names in dict.fromkeys(map(_names, summary["runs"])):
            groups = {r["run"]: r["group"] for r in summary["runs"] if _names(r) == names}
            yield "all runs:"
            yield comparison_table(metrics, groups, names=names, unicode=unicode)
    yield f"{CONSTANT}: the best that any constant prediction reaches, for each score apart"
    yield from (f"alarm: {line}" for line in summary["alarms"])


def _names(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of a run that its table shows."""
    return headlines(record["family"], CLASSES.get(record["task"], 0))


def _heading(own: pd.DataFrame, record: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    chosen = ", ".join(dict.fromkeys(own["selected_on"].dropna()))
    kind = "" if record["task"] == "regression" else f", {record['task']}"
    return (
        f"{record['dataset']} {summary['split']} (n = {record['samples']}){kind}, protocol "
        f"{summary['protocol']}, checkpoint {summary['checkpoint']} (selected on: {chosen})"
    )


def _completeness(record: Mapping[str, Any]) -> Iterator[str]:
    """Whether the completeness that a model predicts follows the rate."""
    for name, note in record.get("checkpoints", {}).items():
        if told := note.get(COMPLETENESS):
            of = f" ({name})" if len(record["checkpoints"]) > 1 else ""
            yield f"predicted completeness{of}: {described(told)}"


def run_table(metrics: pd.DataFrame, *, names: Sequence[str], unicode: bool = True) -> Table:
    """One run: a row per condition, the mean over the rates, the constant floor.

    Beside each condition stand the shares of text, audio and vision that it erased.

    Args:
        metrics: the run's rows of metrics.csv.
        names: of the scores shown, in their order.
        unicode: arrows beside the metric names; else ``^`` (higher is better) and ``v``.
    """
    table = _table("missing", names, unicode, erased=True)
    cells = over_seeds(metrics)
    random = [at for at in cells.index if at[0] == RANDOM]
    others = [at for at in cells.index if at[0] != RANDOM]
    shares = with_rate(metrics).groupby(["pattern", "rate"])[ERASED].mean()
    for part in (random, others):
        for at in part:
            erased = " ".join(f"{share:.2f}" for share in shares.loc[at])
            _add(table, condition_name(*at), names, cells.loc[at], erased=erased)
        # The mean is over the rates, or over all conditions where there are none.
        if len(part) > 1 and part is (random or others):
            table.add_section()
            _add(table, "mean", names, over_rates(metrics), style="bold", erased="")
        if part:
            table.add_section()
    _add(table, CONSTANT, names, floor_of(metrics), style="dim", erased="")
    return table


def comparison_table(
    metrics: pd.DataFrame, groups: Mapping[str, str], *, names: Sequence[str], unicode: bool = True
) -> Table:
    """Runs of the same scores: means over the rates, and mean and sd of runs that share a group.

    Args:
        metrics: the rows of metrics.csv of these runs.
        groups: run name -> what it shares with runs that differ in the training seed alone.
        names: as in ``run_table``.
        unicode: as in ``run_table``.
    """
    table = _table("mean", names, unicode)
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


def _table(first: str, names: Sequence[str], unicode: bool, *, erased: bool = False) -> Table:
    up, down = ("\u2191", "\u2193") if unicode else ("^", "v")
    table = Table(box=PLAIN, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(Text(first), no_wrap=True)
    if erased:
        table.add_column(Text("erased\nT    A    V"), no_wrap=True)
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
    erased: str | None = None,
) -> None:
    cells = [] if erased is None else [erased]
    cells += [_number(values.get(name, math.nan)) for name in names]
    table.add_row(Text(label), *map(Text, cells), style=style)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:z.4f}"


def _comparable(floor: Mapping[str, float]) -> dict[str, str]:
    return {name: _number(value) for name, value in floor.items()}
