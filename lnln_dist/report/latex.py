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
    table, leads = {}, {}
    for metric, models in by_metric.items():
        leader = best(models, pairs(models, metric))
        name = FIELD.get(metric, metric.replace("_", " "))
        floor = models[0].floor
        cells = [_cell(metric, m.mean.value, m.sd_training) for m in models]
        table[name] = [*cells, _cell(metric, floor, np.nan)]
        leads[name] = [*(m is leader for m in models), False]
    models = next(iter(by_metric.values()))
    seeds = sorted({len(m.score_RK) for m in models})
    counted = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    spread = ", with the standard deviation over them" if seeds[-1] > 1 else ""
    told = (
        f"Means over the conditions, {models[0].score_RK.shape[1]} noise seeds and {counted} "
        f"training seeds{spread}. Bold: the lead over every other model holds (paired tests, "
        "Holm's correction). Accuracies and F1 in per cent; the lower the MAE, the better."
    )
    return _table(table, leads, models, protocol, "scores", told)


def _conditions(models: Sequence[Model], metric: str) -> str:
    table = {
        Condition(*at).name: [_cell(metric, m.curve[at].value, np.nan) for m in models]
        + [_cell(metric, models[0].floor, np.nan)]
        for at in models[0].curve
    }
    leads = {name: [False] * len(cells) for name, cells in table.items()}
    better = "higher" if DIRECTION[metric] > 0 else "lower"
    told = f"{FIELD.get(metric, metric)} by condition, means over all seeds; {better} is better."
    return _table(table, leads, models, models[0].protocol, "conditions", told)


def _table(
    cells: Mapping[str, Sequence[str]],
    leads: Mapping[str, Sequence[bool]],
    models: Sequence[Model],
    protocol: str,
    kind: str,
    told: str,
) -> str:
    table = pd.DataFrame({"Model": [*(m.name for m in models), CONSTANT], **cells})
    record = models[0].runs[0].record
    chosen = ", ".join(dict.fromkeys(m.selected_on for m in models))
    caption = (
        f"{record['dataset']} {record['split']} (n = {record['samples']}), protocol {protocol}, "
        f"checkpoints chosen on {chosen}. {told}"
    )
    bold = pd.DataFrame("", table.index, table.columns)
    for name, led in leads.items():
        bold[name] = ["textbf:--rwrap;" if one else "" for one in led]
    style = Styler(table, uuid_len=0).hide(axis="index").apply(lambda _: bold, axis=None)
    style = style.format(escape="latex").format_index(escape="latex", axis="columns")
    text: str = style.to_latex(
        hrules=True,
        position="t",
        position_float="centering",
        column_format="l" + "r" * len(cells),
        caption=_escaped(caption),
        label=f"tab:{kind}-{protocol}",
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
