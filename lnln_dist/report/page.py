"""The page ``report.html``: one file, no request, at most 5 MB.

The browser gets aggregates of everything and a capped choice of samples as JSON. Texts are data:
Jinja escapes what stands in the page, JSON has no character that could end its element, the
script writes text nodes only, and the page's policy runs no script but ours.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lnln_dist import __version__
from lnln_dist.config import CLASSES
from lnln_dist.errors import UserError
from lnln_dist.files import sha256_file
from lnln_dist.metrics import DIRECTION
from lnln_dist.report.calibration import there_at
from lnln_dist.report.comparison import Comparison
from lnln_dist.report.conditions import (
    Condition,
    Outputs,
    bins_of,
    calibration,
    confusion,
    error_by_length,
    outputs_of,
)
from lnln_dist.report.models import Model, plain, trained_differently
from lnln_dist.report.read import FILES, RunScores
from lnln_dist.report.samples import Contents, Open, described, size_of
from lnln_dist.report.seeds import RANDOM
from lnln_dist.report.tables import Table
from lnln_dist.report.terms import class_names

LIMIT = 5_000_000  # bytes of the page
SAMPLES = 400  # shown one by one, fewer where the page would be too large
UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def json_for_script(value: Any) -> Markup:
    """JSON that no HTML parser can take for the end of its script element."""
    text = json.dumps(_rounded(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # All of it lies inside JSON strings, where the escapes mean the same characters.
    return Markup(text.translate(UNSAFE))  # noqa: S704


def _rounded(value: Any) -> Any:
    """Numbers of five digits; undefined ones as null."""
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def data_of(
    found: Comparison, by_metric: Mapping[str, Sequence[Model]], open_data: Open
) -> dict[str, Any]:
    """What the page's script draws, protocol by protocol; samples fill what is left of the page.

    Args:
        found: the comparison.
        by_metric: every score's models, in the order of ``found.compared``.
        open_data: opens the evaluated data.
    """
    protocols = list(dict.fromkeys(model.protocol for model in found.compared))
    parts = [
        _protocol(name, found, by_metric, open_data, SAMPLES // len(protocols))
        for name in protocols
    ]
    return {
        "metric": found.metric,
        "direction": {metric: DIRECTION[metric] for metric in by_metric},
        "protocols": parts,
    }


def _protocol(
    name: str,
    found: Comparison,
    by_metric: Mapping[str, Sequence[Model]],
    open_data: Open,
    most: int,
) -> dict[str, Any]:
    places = [i for i, model in enumerate(found.compared) if model.protocol == name]
    models = [found.compared[i] for i in places]
    outputs = [outputs_of(model, found.metric) for model in models]
    in_mean = [Condition(*at) for at in models[0].curve]
    # Only there the rate is that of the text, whose completeness is predicted.
    absent = models[0].runs[0].summary.get("absent") or ()
    rates = [at for at in in_mean if at.pattern == RANDOM and "text" not in absent]
    conditions = list(dict.fromkeys(at for out in outputs for at in out.prediction_SN))
    conditions = [*in_mean, *(at for at in conditions if at not in in_mean)]
    opened = open_data(models[0].runs[0], conditions)
    contents = None if isinstance(opened, str) else opened
    # Where texts have gaps, models that predict no completeness do not say what is there.
    records = [run.record for model in models for run in model.runs]
    there = {at.rate: min(there_at(record, at.rate) for record in records) for at in conditions}
    return {
        "name": name,
        "conditions": [
            {
                "name": at.name,
                "rate": at.rate,
                "there": there[at.rate],
                "random": at.pattern == RANDOM,
                "mean": at in in_mean,
            }
            for at in conditions
        ],
        "models": [model.name for model in models],
        "classes": [list(class_names(m.runs[0].family, _classes(m))) for m in models],
        "seed": int(models[0].runs[0].metrics["noise_seed"].min()),
        "curves": {m: [_curve(by_metric[m][i], in_mean) for i in places] for m in by_metric},
        "floors": {m: by_metric[m][places[0]].floor for m in by_metric},
        "confusion": _confusions(outputs, models, conditions, list(by_metric)),
        "calibration": [
            {in_mean.index(at): pair for at, pair in calibration(out).items() if at in rates}
            for out in outputs
        ],
        "lengths": None if contents is None else _lengths(outputs, conditions, contents),
        "samples": described(outputs, conditions, contents, most),
        "samples_of": len(outputs[0].ids),
        "marked": contents is not None and contents.marked,
        "without": opened if isinstance(opened, str) else "",
    }


def _curve(model: Model, in_mean: Sequence[Condition]) -> list[list[float]]:
    points = [model.curve[at] for at in in_mean]
    return [[point.value, point.low, point.high] for point in points]


def _confusions(
    outputs: Sequence[Outputs],
    models: Sequence[Model],
    conditions: Sequence[Condition],
    metrics: Sequence[str],
) -> list[list[list[list[int]]]] | None:
    """By model and condition; None where the labels' range defines no classes."""
    if "acc3" not in metrics:
        return None
    tables = [
        confusion(out, m.runs[0].family, _classes(m))
        for out, m in zip(outputs, models, strict=True)
    ]
    return [[table[at] for at in conditions] for table in tables]


def _classes(model: Model) -> int:
    """How many classes it tells; 0 for a number."""
    return CLASSES.get(model.runs[0].record.get("task", "regression"), 0)


def _lengths(
    outputs: Sequence[Outputs], conditions: Sequence[Condition], contents: Contents
) -> dict[str, Any]:
    bins = bins_of(np.array([contents.lengths[name] for name in outputs[0].ids]))
    errors = [error_by_length(out, bins) for out in outputs]
    return {
        "names": bins.names,
        "count": bins.sizes,
        "error": [[error[at] for at in conditions] for error in errors],
    }


def provenance(found: Comparison) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Evaluations and runs with everything that tells where their numbers come from."""
    runs = [run for model in found.compared for run in model.runs]
    folders = {run.folder: run for run in runs}
    evaluations = []
    for folder, run in folders.items():
        hashes = {f"sha256 of {name}": sha256_file(folder / name) for name in FILES[1:]}
        told = {key: _told(value) for key, value in run.summary.items()}
        evaluations.append({"folder": str(folder), **told, **hashes})
    keys = ("recipe", "train_seed", "config_hash", "data_hash", "origin", "git_commit", "folder")
    others = trained_differently(found.compared)

    def training(run: RunScores) -> dict[str, str]:
        told = run.record.get("training") or {}
        own = "; ".join(f"{key} {plain(told[key])}" for key in others if key in told)
        return {"trained differently": own} if others else {}

    lines = [
        {"run": run.name, "model": model.name, "selected on": run.selected_on}
        | {key.replace("_", " "): _told(run.record.get(key)) for key in keys}
        | training(run)
        | {"notes": "; ".join(run.record.get("notes", []))}
        for model in found.compared
        for run in model.runs
    ]
    return evaluations, lines


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value)) or "none"
    return "unknown" if value is None else str(value)


def render(
    found: Comparison,
    tables: Sequence[Table],
    data: dict[str, Any],
    *,
    words: Sequence[str],
    command: str,
) -> str:
    """The page; samples are left out, drawn ones before the worst, until it fits.

    Args:
        found: the comparison.
        tables: of the report.
        data: as ``data_of`` gave it; its lists of samples are cut in place.
        words: the summary.
        command: that makes the report again.

    Raises:
        UserError: the page is too large even without samples.
    """
    environment = Environment(
        loader=PackageLoader("lnln_dist.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = Path(__file__).with_name("html")
    style, script = ((folder / f"report.{s}").read_text(encoding="utf-8") for s in ("css", "js"))
    evaluations, runs = provenance(found)

    def page() -> str:
        return environment.get_template("report.html").render(
            title=f"{runs_title(found)}: {found.metric}",
            words=words,
            alarms=found.alarms,
            tables=tables,
            data=json_for_script(data),
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            style_hash=_policy_hash(style),
            script_hash=_policy_hash(script),
            evaluations=evaluations,
            runs=runs,
            command=command,
            version=__version__,
        )

    parts = data["protocols"]
    while (over := len((text := page()).encode()) - LIMIT) > 0:
        if not any(part["samples"] for part in parts):
            raise UserError(
                f"the page would have {(over + LIMIT) / 1e6:.1f} MB, the most is "
                f"{LIMIT / 1e6:.0f}: give fewer results, or test with --against"
            )
        for part in parts:
            # Escapes make a sample larger than it is alone, so this may take another turn.
            share = over / len(parts)
            while part["samples"] and share > 0:
                share -= size_of(part["samples"].pop())
    return text


def runs_title(found: Comparison) -> str:
    """What was scored."""
    record = found.compared[0].runs[0].record
    return f"{record['dataset']} {record['split']}, n = {record['samples']}"


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
