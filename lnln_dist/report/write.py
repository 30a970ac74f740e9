"""A report as one folder: the page, Markdown, LaTeX, CSV and figures of the same tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lnln_dist.errors import UserError
from lnln_dist.files import alone, atomic_folder
from lnln_dist.metrics import DIRECTION
from lnln_dist.report import figures
from lnln_dist.report.comparison import Comparison, compare
from lnln_dist.report.conditions import Condition, metrics_of
from lnln_dist.report.latex import latex
from lnln_dist.report.models import Model, models_of
from lnln_dist.report.page import data_of, render, runs_title
from lnln_dist.report.samples import Open
from lnln_dist.report.tables import Table, file_names, tables_of

PAGE = "report.html"  # makes a folder a report


def write(
    results: Sequence[Path],
    target: Path,
    *,
    metric: str,
    against: str | None,
    open_data: Open,
    command: str,
    overwrite: bool = False,
) -> Comparison:
    """Writes the report of some evaluations.

    Args:
        results: folders that ``evaluate`` wrote.
        target: the folder to write.
        metric: the score that is compared.
        against: test all models against this one only.
        open_data: opens the evaluated data for texts and masks.
        command: that makes this report again, for its provenance.
        overwrite: replace an earlier report.

    Raises:
        UserError: see ``compare``; the folder exists, is something else or cannot be written.
    """
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists: choose another folder, remove it or pass --overwrite")
    if target.exists() and not (target / PAGE).is_file():
        raise UserError(f"{target} is no report: --overwrite would lose what it holds")
    found = compare(results, metric, against)
    runs = [run for model in found.compared for run in model.runs]
    by_metric = {m: found.compared if m == metric else _aligned(m, found) for m in metrics_of(runs)}
    tables = tables_of(found, by_metric)
    data = data_of(found, by_metric, open_data)
    words = [*lead(found), *found.words]
    lines = [*words, *(f"alarm: {line}" for line in found.alarms)]
    with alone(target), atomic_folder(target, overwrite=overwrite) as folder:
        _write_figures(folder / "figures", found, data)
        _write_tables(folder, found, tables, lines, command)
        tex = latex(by_metric, metric, lines)
        (folder / "report.tex").write_text(tex, encoding="utf-8")
        page = render(found, tables, data, words=words, command=command)
        (folder / PAGE).write_text(page, encoding="utf-8")
    return found


def _aligned(metric: str, found: Comparison) -> list[Model]:
    """Another score's models in the order of the comparison."""
    runs = [run for model in found.compared for run in model.runs]
    models = {(m.protocol, m.name): m for m in models_of(runs, metric)}
    return [models[m.protocol, m.name] for m in found.compared]


def lead(found: Comparison) -> list[str]:
    """What a reader wants to know first."""
    models = found.compared
    runs = [run for model in models for run in model.runs]
    chosen = list(dict.fromkeys(run.selected_on for run in runs))
    lines = [
        f"{runs_title(found)}: {len(models)} models from {len(runs)} trainings, checkpoints "
        f"chosen on: {', '.join(chosen)}"
    ]
    if any("test" in part.split(", ") for part in chosen):
        lines.append("checkpoints chosen on the test split flatter their scores on it")
    for protocol in dict.fromkeys(model.protocol for model in models):
        members = [m for m in models if m.protocol == protocol and np.isfinite(m.mean.value)]
        if members:
            lines += _lead(protocol, members, found.metric)
    least = found.pairs["detectable"].dropna() if not found.pairs.empty else pd.Series()
    if not least.empty:
        span = f"{least.min():.4f}"
        span += f" to {least.max():.4f}, depending on the pair" if len(least) > 1 else ""
        lines.append(
            f"least true difference that these samples and seeds would find 4 times in 5: {span}"
        )
    return lines


def _lead(protocol: str, members: Sequence[Model], metric: str) -> list[str]:
    sign = DIRECTION[metric]
    first = max(members, key=lambda m: sign * m.mean.value)
    low, high = first.mean.low, first.mean.high
    between = f" (95 % interval {low:.4f} to {high:.4f})" if np.isfinite(low) else ""
    lines = [
        f"protocol {protocol}: {'highest' if sign > 0 else 'lowest'} mean {metric}: {first.name} "
        f"with {first.mean.value:.4f}{between}; the best constant reaches {first.floor:.4f}"
    ]
    drops = [m for m in members if np.isfinite(m.robustness.drop)]
    least, most = (choose(drops, key=_drop, default=None) for choose in (min, max))
    if least and most and f"{_drop(least):.4f}" != f"{_drop(most):.4f}":
        lines.append(
            f"protocol {protocol}: from the lowest to the highest rate {least.name} loses least "
            f"({_drop(least):.4f}), {most.name} most ({_drop(most):.4f})"
        )
    return lines


def _drop(model: Model) -> float:
    return model.robustness.drop


def _write_tables(
    folder: Path, found: Comparison, tables: Sequence[Table], lines: Sequence[str], command: str
) -> None:
    md = f"# {runs_title(found)}: {found.metric}\n\n" + "".join(f"- {line}\n" for line in lines)
    for table in tables:
        table.numbers.to_csv(folder / f"{table.name}.csv", index=False, lineterminator="\n")
        md += f"\n## {table.title}\n{table.note}\n\n{table.markdown}\n"
    md += f"\nMade with `{command}`\n"
    (folder / "report.md").write_text(md, encoding="utf-8")


def _write_figures(folder: Path, found: Comparison, data: dict[str, Any]) -> None:
    folder.mkdir()
    protocols = [part["name"] for part in data["protocols"]]
    suffixes = [f"_{name}" for name in file_names(protocols)] if len(protocols) > 1 else [""]
    for suffix, part in zip(suffixes, data["protocols"], strict=True):
        models = [m for m in found.compared if m.protocol == part["name"]]
        figures.save(_curves(models, found.metric), folder, f"{found.metric}{suffix}")
        left = [c["there"] for c in part["conditions"]]
        tables = {
            name: {left[i]: pair for i, pair in table.items()}
            for name, table in zip(part["models"], part["calibration"], strict=True)
        }
        if any(tables.values()):
            figures.save(figures.completeness(tables), folder, f"completeness{suffix}")
        last = sum(c["mean"] for c in part["conditions"]) - 1
        told = zip(part["models"], part["classes"], part["confusion"] or [], strict=False)
        safe = file_names(part["models"])
        for name, (_, classes, by_condition) in zip(safe, told, strict=False):
            made = figures.confusion(np.array(by_condition[last], np.float64), classes)
            figures.save(made, folder, f"confusion_{name}{suffix}")


def _curves(models: Sequence[Model], metric: str) -> Figure:
    conditions = [Condition(*at) for at in models[0].curve]
    one = len({at.pattern for at in conditions}) == 1  # so the conditions are its rates
    points = {model.name: list(model.curve.values()) for model in models}
    return figures.curves(
        {
            name: figures.Curve([p.value for p in own], [p.low for p in own], [p.high for p in own])
            for name, own in points.items()
        },
        metric,
        rates=[at.rate for at in conditions] if one else None,
        names=[at.name for at in conditions],
        floor=models[0].floor,
    )
