"""The tables of a report, once for all its forms: numbers for CSV, text for what is read."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from lnln_dist import markdown
from lnln_dist.metrics import DIRECTION
from lnln_dist.report.comparison import Comparison, shown
from lnln_dist.report.conditions import Condition
from lnln_dist.report.models import Model
from lnln_dist.report.published import check, published
from lnln_dist.report.read import RunScores
from lnln_dist.report.seeds import CONSTANT, RANDOM

HELD_AGAINST = "LNLN (re-run by TCMR)"  # validation-selected and F1 with the truth first


class Table(NamedTuple):
    """One table."""

    name: str  # of its CSV
    title: str
    note: str  # what a reader has to know
    numbers: pd.DataFrame
    text: pd.DataFrame

    @property
    def markdown(self) -> str:
        """The text as Markdown."""
        return markdown.table([self.text.columns.tolist(), *self.text.to_numpy().tolist()])


def tables_of(found: Comparison, by_metric: Mapping[str, Sequence[Model]]) -> list[Table]:
    """All tables that have rows, in the order of the page.

    Args:
        found: the comparison of one score.
        by_metric: every score's models, in the order of ``found.compared``.
    """
    arrow = "higher is better" if DIRECTION[found.metric] > 0 else "lower is better"
    note = f"{found.metric}, {arrow}; 95 % intervals over samples and seeds; * where a lead holds"
    pair_note = "positive differences: the first is better; p after Holm's correction"
    by_protocol: dict[str, list[Model]] = {}
    for model in found.compared:
        by_protocol.setdefault(model.protocol, []).append(model)
    several = len(by_protocol) > 1  # each has conditions of its own
    safe = zip(by_protocol.values(), by_protocol, file_names(list(by_protocol)), strict=True)
    parts = [(own, (name, file) if several else None) for own, name, file in safe]
    made = [
        Table("models", "Models", note, found.models, shown(found.models)),
        Table("pairs", "Paired tests", pair_note, found.pairs, shown(found.pairs)),
        _scores(by_metric),
        *(_rates(models, found.metric, more) for models, more in parts),
        *(_patterns(models, found.metric, more) for models, more in parts),
        _published(found.compared[0].runs[0], list(by_metric)),
    ]
    return [table for table in made if not table.numbers.empty]


def _names(model: Model) -> dict[str, str]:
    return {"model": model.name, "protocol": model.protocol}


def _scores(by_metric: Mapping[str, Sequence[Model]]) -> Table:
    """Every score's mean with its interval, and the best constant's."""
    rows: list[dict[str, object]] = []
    text: list[dict[str, object]] = []
    for models in zip(*by_metric.values(), strict=True):
        row, line = dict[str, object](_names(models[0])), dict[str, object](_names(models[0]))
        for metric, model in zip(by_metric, models, strict=True):
            mean = model.mean
            row |= {metric: mean.value, f"{metric}_low": mean.low, f"{metric}_high": mean.high}
            inner = "" if pd.isna(mean.low) else f" [{mean.low:.3f}, {mean.high:.3f}]"
            line[metric] = f"{mean.value:.3f}{inner}" if not pd.isna(mean.value) else "-"
        rows.append(row)
        text.append(line)
    floors = {metric: models[0].floor for metric, models in by_metric.items()}
    rows.append({"model": CONSTANT, "protocol": "", **floors})
    told = {m: "-" if pd.isna(v) else f"{v:.3f}" for m, v in floors.items()}
    text.append({"model": "best constant", "protocol": "", **told})
    note = "mean over the conditions, with 95 % intervals; each score has its own best constant"
    return Table("scores", "All scores", note, pd.DataFrame(rows), pd.DataFrame(text))


def _rates(models: Sequence[Model], metric: str, protocol: tuple[str, str] | None) -> Table:
    rows = [
        _names(m) | {Condition(*at).name: point.value for at, point in m.curve.items()}
        for m in models
    ]
    note = f"{metric}, mean over training and noise seeds"
    return _of_protocol("rates", f"{metric} by condition", note, rows, protocol)


def _patterns(models: Sequence[Model], metric: str, protocol: tuple[str, str] | None) -> Table:
    """What stands beside the conditions of the mean."""
    rows: list[dict[str, Any]] = []
    for model in models:
        scores = pd.concat(run.metrics for run in model.runs)
        scores = scores[(scores["metric"] == metric) & (scores["pattern"] != RANDOM)]
        cells = scores.groupby(["pattern", "rate"], sort=False)["value"].mean().reset_index()
        found_at = map(Condition, cells["pattern"], cells["rate"])
        others = dict(zip(found_at, cells["value"], strict=True))
        values = {at.name: v for at, v in others.items() if at not in model.curve}
        if values:
            rows.append(_names(model) | values)
    note = f"{metric}; these conditions are not in the mean"
    return _of_protocol("patterns", "Beside the mean", note, rows, protocol)


def _of_protocol(
    name: str, title: str, note: str, rows: list[dict[str, Any]], protocol: tuple[str, str] | None
) -> Table:
    """A table of conditions; ``protocol``: its name, and in files, where there are others."""
    table = pd.DataFrame(rows)
    if protocol:
        name, title = f"{name}_{protocol[1]}", f"{title}, protocol {protocol[0]}"
    return Table(name, title, note, table, _digits(table))


def _published(run: RunScores, metrics: Sequence[str]) -> Table:
    """Rows of the literature for the same data set, as printed, with what is wrong in them."""
    table = published()
    table = table[table["dataset"] == str(run.record["dataset"]).lower()]
    if run.record["split"] != "test":
        table = table.iloc[:0]
    scores = [metric for metric in metrics if metric in table and table[metric].notna().any()]
    table = table[["method", "protocol", "selected_on", "f1_order", *scores, "errata", "source"]]
    text = _digits(table, 2, ("mae", "corr")).rename(columns=lambda c: str(c).replace("_", " "))
    if not text.empty:
        found = [[f"{f.text}" for f in check(table.loc[[i]])] for i in table.index]
        kept = [[str(e)] if pd.notna(e) else f for e, f in zip(table["errata"], found, strict=True)]
        text["errata"] = ["; ".join(lines) for lines in kept]
    note = (
        "per cent as printed, mae and corr as they are; context only: no paired test is possible, "
        "and most chose checkpoints on the test split. Hold validation-selected runs against "
        f"{HELD_AGAINST}"
    )
    return Table("published", "Published numbers", note, table, text)


def file_names(names: Sequence[str]) -> list[str]:
    """Short names without odd characters; the same ones, whatever their case, get numbers."""
    found: list[str] = []
    for name in names:
        short = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)[:60]
        tries = (short if n == 1 else f"{short}_{n}" for n in itertools.count(1))
        taken = {one.lower() for one in found}
        found.append(next(one for one in tries if one.lower() not in taken))
    return found


def _digits(table: pd.DataFrame, digits: int = 4, finer: Sequence[str] = ()) -> pd.DataFrame:
    """Numbers as text; ``finer`` columns have three digits."""
    text = pd.DataFrame(index=table.index)
    for name in table:
        places = 3 if name in finer else digits

        def cell(value: Any, places: int = places) -> str:
            if pd.isna(value):
                return "-"
            return f"{value:.{places}f}" if isinstance(value, float) else str(value)

        text[name] = table[name].map(cell)
    return text
