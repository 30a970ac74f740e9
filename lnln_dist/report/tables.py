"""The tables of a report, once for all its forms: numbers for CSV, text for what is read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

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


def tables_of(found: Comparison, by_metric: Mapping[str, Sequence[Model]]) -> list[Table]:
    """All tables that have rows, in the order of the page.

    Args:
        found: the comparison of one score.
        by_metric: every score's models, in the order of ``found.compared``.
    """
    arrow = "higher is better" if DIRECTION[found.metric] > 0 else "lower is better"
    note = f"{found.metric}, {arrow}; 95 % intervals over samples and seeds; * where a lead holds"
    pair_note = "positive differences: the first is better; p after Holm's correction"
    made = [
        Table("models", "Models", note, found.models, shown(found.models)),
        Table("pairs", "Paired tests", pair_note, found.pairs, shown(found.pairs)),
        _scores(by_metric),
        _rates(found),
        _patterns(found),
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


def _rates(found: Comparison) -> Table:
    rows = [
        _names(m) | {Condition(*at).name: point.value for at, point in m.curve.items()}
        for m in found.compared
    ]
    table = pd.DataFrame(rows)
    note = f"{found.metric}, mean over training and noise seeds"
    return Table("rates", f"{found.metric} by condition", note, table, _digits(table))


def _patterns(found: Comparison) -> Table:
    """What stands beside the conditions of the mean."""
    rows: list[dict[str, Any]] = []
    for model in found.compared:
        scores = pd.concat(run.metrics for run in model.runs)
        scores = scores[(scores["metric"] == found.metric) & (scores["pattern"] != RANDOM)]
        cells = scores.groupby(["pattern", "rate"], sort=False)["value"].mean().reset_index()
        found_at = map(Condition, cells["pattern"], cells["rate"])
        others = dict(zip(found_at, cells["value"], strict=True))
        values = {at.name: v for at, v in others.items() if at not in model.curve}
        if values:
            rows.append(_names(model) | values)
    table = pd.DataFrame(rows)
    note = f"{found.metric}; these conditions are not in the mean"
    return Table("patterns", "Beside the mean", note, table, _digits(table))


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
