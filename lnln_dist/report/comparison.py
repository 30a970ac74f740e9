"""A comparison of models as tables and words."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lnln_dist.report.compare import Pair, best, pairs
from lnln_dist.report.models import Model, models_of, trained_differently
from lnln_dist.report.read import metric_of, read


class Comparison(NamedTuple):
    """What results say about one score."""

    metric: str
    models: pd.DataFrame  # one row per model and protocol
    pairs: pd.DataFrame  # one row per test
    compared: list[Model]  # behind the rows of models
    words: list[str]
    alarms: list[str]


def compare(folders: Sequence[Path], metric: str = "mae", against: str | None = None) -> Comparison:
    """Compares all models that some evaluations hold, protocol by protocol.

    Args:
        folders: what ``evaluate`` wrote.
        metric: the score.
        against: test all models against this one only.

    Raises:
        UserError: see ``read``; the score or the model does not exist.
    """
    runs = read(folders)
    models = models_of(runs, metric_of(runs, metric))
    rows: list[dict[str, object]] = []
    tests: list[Pair] = []
    words: list[str] = []
    protocols = dict.fromkeys(model.protocol for model in models)
    for protocol in protocols:
        members = [model for model in models if model.protocol == protocol]
        tested = pairs(members, metric, against)
        leader = best(members, tested)
        rows += [_row(model, leader is model) for model in members]
        tests += tested
        prefix = f"{protocol}: " if len(protocols) > 1 else ""
        told = members[0].runs[0].record["protocol_words"]
        words += [f"protocol {told}"] if told else []
        words += [f"{prefix}{line}" for line in _words(members, tested, leader, metric)]
    # Of the data, which runs have in common; not of runs that were trained on others.
    shifts = dict.fromkeys(run.record.get("label_shift") for run in runs)
    words += [f"{shift} (see bias)" for shift in shifts if shift]
    alarms = list(dict.fromkeys(line for model in models for line in model.alarms))
    table = pd.DataFrame(rows).dropna(axis="columns", how="all")
    return Comparison(metric, table, pd.DataFrame(map(_test, tests)), models, words, alarms)


def _row(model: Model, leads: bool) -> dict[str, object]:
    return {
        "model": model.name,
        "protocol": model.protocol,
        "selected_on": model.selected_on,
        "best": leads,
        "training_seeds": len(model.score_RK),
        "noise_seeds": model.score_RK.shape[1],
        "mean": model.mean.value,
        "low": model.mean.low,
        "high": model.mean.high,
        "sd_training": model.sd_training,
        "sd_noise": model.sd_noise,
        "iqm": model.iqm,
        "area": model.robustness.area,
        "worst": model.robustness.worst,
        "drop": model.robustness.drop,
        "patterns": model.macro,
        "constant": model.floor,
        "spread": model.spread,
        "bias": model.bias,
        "completeness": model.slope,
    }


def _test(pair: Pair) -> dict[str, object]:
    return {
        "first": pair.first.name,
        "second": pair.second.name,
        "protocol": pair.first.protocol,
        "difference": pair.difference.value,
        "low": pair.difference.low,
        "high": pair.difference.high,
        "p": pair.difference.p,
        "p_holm": pair.p,
        "holds": pair.holds,
        "improvement": pair.improvement,
        "effect": pair.effect,
        "detectable": pair.detectable,
    }


def _words(
    models: Sequence[Model], tested: Sequence[Pair], leader: Model | None, metric: str
) -> list[str]:
    lines = []
    if leader is not None:
        lines.append(f"best: {leader.name}; its lead over every other holds")
    elif len(models) > 1:
        lines.append("best: none is marked, as no model's lead over every other holds")
    lines += [pair.words(metric) for pair in tested]
    single = [model.name for model in models if len(model.score_RK) < 2]
    if single:
        lines.append(
            f"one training seed of {', '.join(single)}: what holds, holds for these weights and "
            "says nothing of another training"
        )
    unpaired = {
        tuple(sorted((a.name, b.name)))
        for a, b in itertools.combinations(models, 2)
        if a.seeds != b.seeds and min(len(a.score_RK), len(b.score_RK)) > 1
    }
    lines += [f"{a} and {b} have other training seeds: not paired by them" for a, b in unpaired]
    if others := trained_differently(models):
        lines.append(f"trained differently: {'; '.join(map(_setting, others, others.values()))}")
    return lines


def _setting(key: str, values: Mapping[str, Sequence[str]]) -> str:
    return f"{key} " + ", ".join(f"{value} ({', '.join(of)})" for value, of in values.items())


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text: four digits, the interval in one column, the best with a star."""
    text = pd.DataFrame(index=table.index)
    for name in table:
        if name == "low":
            text["95 %"] = [
                "-" if np.isnan(low) else f"{low:z.4f} to {high:z.4f}"
                for low, high in zip(table["low"], table["high"], strict=True)
            ]
        elif name == "best":
            text["model"] = text["model"] + table["best"].map({True: " *", False: ""})
        elif name == "holds":
            text["holds"] = table["holds"].map({True: "yes", False: "no"})
        elif name != "high":
            text[str(name).replace("_", " ")] = table[name].map(_cell)
    return text


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:z.4f}"
    return str(value)
