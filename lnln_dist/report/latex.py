"""``report.tex``: the tables that a paper prints, made with booktabs.

For each protocol one of the scores, in the field's names, and one of the compared score by
condition. What does not fit a page (tests, robustness, published numbers) is in the CSV files.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from lnln_dist.metrics import DIRECTION
from lnln_dist.report.compare import best, pairs
from lnln_dist.report.conditions import Condition
from lnln_dist.report.models import Model

FIELD = {  # columns in the order of the field's tables; f1_macroN of regressions are left out
    **{f"acc{n}": f"Acc-{n}" for n in (7, 5, 3)},
    "acc2_has0": "Acc-2 (has 0)",
    "f1_has0": "F1 (has 0)",
    "acc2_non0": "Acc-2 (non 0)",
    "f1_non0": "F1 (non 0)",
    "acc2": "Acc-2",
    "f1": "F1",
    "mae": "MAE",
    "corr": "Corr",
}
CONSTANT = "best constant"
BOLD = "textbf:--rwrap;"


def latex(by_metric: Mapping[str, Sequence[Model]], metric: str, words: Sequence[str]) -> str:
    """The file.

    Args:
        by_metric: every score's models, in one order.
        metric: the compared score.
        words: the summary, as comments.
    """
    shown = [m for m in FIELD if m in by_metric] if "mae" in by_metric else list(by_metric)
    comments = [f"% {' '.join(line.split())}\n" for line in words]
    parts = ["% needs \\usepackage{booktabs}\n" + "".join(comments)]
    for protocol in dict.fromkeys(model.protocol for model in by_metric[metric]):
        of = {m: [one for one in by_metric[m] if one.protocol == protocol] for m in by_metric}
        parts += [_scores({m: of[m] for m in shown}, protocol), _conditions(of[metric], metric)]
    return "\n".join(parts)


def _scores(by_metric: Mapping[str, Sequence[Model]], protocol: str) -> str:
    """Models down, scores across."""
    models = next(iter(by_metric.values()))
    table = pd.DataFrame({"Model": [*(m.name for m in models), CONSTANT]})
    bold = pd.DataFrame("", table.index, table.columns)
    for metric, scored in by_metric.items():
        leader = best(scored, pairs(scored, metric))
        name = FIELD.get(metric, metric.replace("_", " "))
        cells = [_cell(metric, m.mean.value, m.sd_training) for m in scored]
        table[name] = [*cells, _cell(metric, scored[0].floor, np.nan)]
        bold[name] = [*(BOLD if m is leader else "" for m in scored), ""]
    seeds = sorted({len(m.score_RK) for m in models})
    counted = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    spread = ", with the standard deviation over them" if seeds[-1] > 1 else ""
    told = (
        f"Means over the conditions, {models[0].score_RK.shape[1]} noise seeds and {counted} "
        f"training seeds{spread}. Bold: the lead over every other model holds (paired tests, "
        "Holm's correction). Accuracies and F1 in per cent; the lower the MAE, the better."
    )
    return _table(table, bold, models, f"scores-{protocol}", told)


def _conditions(models: Sequence[Model], metric: str) -> str:
    """Conditions down, as protocols have many, and models across."""
    at = list(models[0].curve)
    table = pd.DataFrame({"Condition": [Condition(*one).name for one in at]})
    for number, model in enumerate(models):
        table[number] = [_cell(metric, model.curve[one].value, np.nan) for one in at]
    table = table.set_axis(["Condition", *(m.name for m in models)], axis="columns")
    better = "higher" if DIRECTION[metric] > 0 else "lower"
    told = (
        f"{FIELD.get(metric, metric)} by condition, means over all seeds; {better} is better. The "
        f"best constant reaches {_cell(metric, models[0].floor, np.nan)}."
    )
    none = pd.DataFrame("", table.index, table.columns)
    return _table(table, none, models, f"conditions-{models[0].protocol}", told)


def _table(
    table: pd.DataFrame, bold: pd.DataFrame, models: Sequence[Model], label: str, told: str
) -> str:
    record = models[0].runs[0].record
    chosen = ", ".join(dict.fromkeys(m.selected_on for m in models))
    caption = (
        f"{record['dataset']} {record['split']} (n = {record['samples']}), protocol "
        f"{models[0].protocol}, checkpoints chosen on {chosen}. {told}"
    )
    style = Styler(table, uuid_len=0).hide(axis="index").apply(lambda _: bold, axis=None)
    style = style.format(escape="latex").format_index(escape="latex", axis="columns")
    text: str = style.to_latex(
        hrules=True,
        position="t",
        position_float="centering",
        column_format="l" + "r" * (len(table.columns) - 1),
        caption=_escaped(caption),
        label=f"tab:{''.join(c if c.isalnum() else '-' for c in label)}",
    )
    return text


def _escaped(text: str) -> str:
    """By the same rules as the cells."""
    cell = pd.DataFrame({"c": [text]}).style.format(escape="latex").hide(axis="index")
    line: str = cell.hide(axis="columns").to_latex().splitlines()[1]
    return line.removesuffix(" \\\\")


def _cell(metric: str, value: float, sd: float) -> str:
    """Per cent with one digit, error and correlation with three."""
    if np.isnan(value):
        return "-"
    scale, digits = (1, 3) if metric in ("mae", "corr") else (100, 1)
    spread = "" if np.isnan(sd) else f" ± {sd * scale:.{digits}f}"
    return f"{value * scale:.{digits}f}{spread}"
