"""Runs of one model as one row: mean over seeds with its interval, robustness, calibration."""

import itertools
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnln_dist.classes import class_values, cut
from lnln_dist.config import CLASSES
from lnln_dist.errors import UserError
from lnln_dist.metrics import BOUNDS, DIRECTION, Robustness, robustness
from lnln_dist.report.calibration import COMPLETENESS, IDLE, alarm, calibration, there_at
from lnln_dist.report.intervals import (
    DRAWS,
    Interval,
    Resampled,
    Weights,
    counts,
    interquartile_mean,
    interval,
    resampled,
    seed_weights,
)
from lnln_dist.report.read import RunScores
from lnln_dist.report.seeds import RANDOM
from lnln_dist.report.terms import terms_of

AGREE = 1e-5  # scores computed again here against metrics.csv


@dataclass(frozen=True, eq=False)
class Model:
    """One model under one protocol; the runs differ in the training seed alone."""

    name: str
    protocol: str
    selected_on: str
    runs: list[RunScores]
    score_RK: NDArray[np.float64]
    """Mean over the conditions, of each training seed (rising) and noise seed."""
    resampled: Resampled
    mean: Interval
    """Over conditions and seeds."""
    curve: dict[tuple[str, float], Interval]
    """(Pattern, rate) -> mean over the seeds, of each condition in the mean."""
    floor: float
    """The best constant's score."""
    robustness: Robustness
    macro: float
    """Mean over the patterns beside the rates; nan without any."""
    spread: float
    """Standard deviation of predictions at the highest rate over the labels'; near 0: collapse."""
    bias: float
    """Mean of predictions minus labels over conditions and seeds; of classes, of their values."""
    slope: float
    """Of predicted completeness on what is there, over the rates; nan where none is predicted."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds; empty where unknown."""
        return _seeds(self.runs)

    @property
    def sd_training(self) -> float:
        """Standard deviation over training seeds, noise averaged; nan for one."""
        return _sd(self.score_RK.mean(1))

    @property
    def sd_noise(self) -> float:
        """Standard deviation over noise seeds, training averaged; nan for one."""
        return _sd(self.score_RK.mean(0))

    @property
    def iqm(self) -> float:
        """Mean of the middle half of all seeds' scores."""
        return interquartile_mean(self.score_RK)

    @property
    def alarms(self) -> list[str]:
        """The evaluations' alarms and that of a completeness that does not follow the rate."""
        found = [line for run in self.runs for line in run.alarms]
        own = alarm(self.name, self.slope)
        told = any(line.endswith(IDLE) for line in found)  # by the evaluation, of each run
        return found if told or not own else [*found, own]


def models_of(runs: Sequence[RunScores], metric: str, *, seed: int = 0) -> list[Model]:
    """Groups runs into models and scores them under the same resamplings.

    Args:
        runs: as ``read`` gave them.
        metric: the score.
        seed: of the resampling; the order of runs does not matter.

    Raises:
        UserError: predictions and scores of a run contradict each other.
    """
    groups: dict[tuple[str, str, str], list[RunScores]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    members = [sorted(g, key=lambda r: r.record["train_seed"] or 0) for g in groups.values()]
    samples = int(runs[0].record["samples"])
    sampled_BN = counts(np.random.default_rng([seed, samples]), DRAWS, samples)
    names = _names(members)
    return [_model(n, g, metric, sampled_BN, seed) for n, g in zip(names, members, strict=True)]


def trained_differently(models: Sequence[Model]) -> dict[str, dict[str, list[str]]]:
    """Settings of the training that differ between models: value -> names of the models.

    Only those that all models whose evaluation holds them have; evaluations of before this was
    written down and imported weights say nothing.
    """
    known = [(m.name, told) for m in models if (told := m.runs[0].record.get("training"))]
    found: dict[str, dict[str, list[str]]] = {}
    for key in known[0][1] if known else ():
        if not all(key in told for _, told in known):
            continue
        values: dict[str, list[str]] = {}
        for name, told in known:
            values.setdefault(plain(told[key]), []).append(name)
        if len(values) > 1:
            found[key] = values
    return found


def plain(value: object) -> str:
    """A setting's value as its YAML has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _names(members: Sequence[list[RunScores]]) -> list[str]:
    """Family, then recipe, then setting or first run: what tells the models of a protocol apart."""
    ways = [
        [str(g[0].metrics["model"].iloc[0]) for g in members],
        [f"{g[0].metrics['model'].iloc[0]} {g[0].record['recipe']}" for g in members],
        [_setting(g) for g in members],
        [f"{g[0].folder.name}/{_setting(g)}" for g in members],
        [f"{g[0].folder}/{_setting(g)}" for g in members],
    ]
    keys = [g[0].protocol for g in members]
    return next(w for w in ways if len(set(zip(keys, w, strict=True))) == len(w) or w is ways[-1])


def _setting(runs: Sequence[RunScores]) -> str:
    """What a sweep calls a setting, whose trials are SETTING_sSEED; else the first run's name."""
    found = {re.sub(r"_s\d+$", "", run.name) for run in runs}
    return found.pop() if len(runs) > 1 and len(found) == 1 else runs[0].name


def _model(
    name: str, runs: list[RunScores], metric: str, sampled_BN: NDArray[np.float64], seed: int
) -> Model:
    scored = [_score(run, metric, sampled_BN) for run in runs]
    at_RKC = np.stack([at for at, _ in scored])
    drawn_BRKC = np.stack([drawn for _, drawn in scored], 1)
    draws, samples = sampled_BN.shape
    cells = runs[0].grid(metric)[2]
    noise = sorted({int(s) for s in cells["noise_seed"]})
    # Seeded by their names: models that share seeds share weights, and nothing else matters.
    own = np.random.default_rng([seed, 1, *_seeds(runs)])
    shared = np.random.default_rng([seed, 2, *noise])
    weights = Weights(
        seed_weights(own, draws, len(runs)), seed_weights(shared, draws, at_RKC.shape[1])
    )

    def told(found: Resampled) -> Interval:
        return interval(found).within(*BOUNDS[metric])

    conditions = zip(cells["pattern"], cells["rate"].astype(float), strict=True)
    curve = {
        condition: told(resampled(at_RKC[..., c], drawn_BRKC[..., c], weights, samples))
        for c, condition in enumerate(itertools.islice(conditions, at_RKC.shape[2]))
    }
    whole = resampled(at_RKC.mean(2), drawn_BRKC.mean(3), weights, samples)
    rates, macro = _rates(runs, metric, {pattern for pattern, _ in curve})
    spread, bias = np.mean([_spread_and_bias(run, metric) for run in runs], axis=0)
    return Model(
        name=name,
        protocol=runs[0].protocol,
        selected_on=", ".join(dict.fromkeys(run.selected_on for run in runs)),
        runs=runs,
        score_RK=at_RKC.mean(2),
        resampled=whole,
        mean=told(whole),
        curve=curve,
        floor=runs[0].floors.get(metric, np.nan),
        robustness=robustness(rates, direction=DIRECTION[metric])
        if rates
        else Robustness(*[np.nan] * 4),
        macro=macro,
        spread=float(spread),
        bias=float(bias),
        slope=_completeness(runs),
    )


def _score(
    run: RunScores, metric: str, sampled_BN: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores as they are [K, C] and resampled [B, K, C]."""
    prediction_KCN, label_N, rows = run.grid(metric)
    seeds, conditions, _ = prediction_KCN.shape
    at_KC = np.empty((seeds, conditions))
    drawn_BKC = np.empty((len(sampled_BN), seeds, conditions))
    for k, c in itertools.product(range(seeds), range(conditions)):
        span = run.record.get("label_range")
        terms = terms_of(metric, prediction_KCN[k, c], label_N, run.family, span)
        at_KC[k, c] = terms.score(terms.value_NS.sum(0))
        drawn_BKC[:, k, c] = terms.score(sampled_BN @ terms.value_NS)
    told = rows["value"].to_numpy(np.float64).reshape(at_KC.shape)
    if not np.allclose(at_KC[~np.isnan(told)], told[~np.isnan(told)], rtol=0, atol=AGREE):
        raise UserError(
            f"{run.folder}: {metric} of {run.name} in metrics.csv is not that of its predictions: "
            "evaluate again"
        )
    return np.where(np.isnan(told), np.nan, at_KC), drawn_BKC


def _rates(
    runs: Sequence[RunScores], metric: str, in_mean: Collection[str]
) -> tuple[dict[float, float], float]:
    """Rate -> mean over all seeds, of the one pattern in the mean, and the mean over the others."""
    main = next(iter(in_mean)) if len(in_mean) == 1 else RANDOM
    tables = [run.metrics[run.metrics["metric"] == metric] for run in runs]
    means = [
        t.groupby(["pattern", "rate"])["value"].agg(lambda v: v.mean(skipna=False)) for t in tables
    ]
    cells = sum(means[1:], means[0]) / len(means)
    table = cells.reset_index()
    rates = table[table["pattern"] == main]
    curve = dict(zip(rates["rate"].tolist(), rates["value"].tolist(), strict=True))
    others = table.loc[table["pattern"] != main, "value"].tolist()
    return curve, float(np.mean(others)) if others else np.nan


def _spread_and_bias(run: RunScores, metric: str) -> tuple[float, float]:
    prediction_KCN, label_N, _ = run.grid(metric)
    count = CLASSES.get(run.record.get("task", "regression"), 0)
    # Decisions on classes are values of classes; so are the labels they are held against.
    values = class_values(run.family, count)[cut(label_N, run.family, count)] if count else label_N
    sd = values.std()
    spread = float(prediction_KCN[:, -1].std(-1).mean() / sd) if sd > 0 else np.nan
    return spread, float(prediction_KCN.mean() - values.mean())


def _completeness(runs: Sequence[RunScores]) -> float:
    """Slope of the mean predicted completeness on what is there; nan without two rates of it.

    That is 1 - rate, or where the text has natural gaps a share of its own.
    """
    slopes = []
    for run in runs:
        # Of an absent text the same share is there at every rate of the others.
        if COMPLETENESS not in run.predictions or "text" in (run.summary.get("absent") or ()):
            return np.nan
        grid = run.predictions[run.predictions["pattern"] == RANDOM]
        rates, shares = grid["rate"].to_numpy(), grid[COMPLETENESS].to_numpy()
        told = {float(rate): shares[rates == rate] for rate in np.unique(rates)}
        there = {rate: there_at(run.record, rate) for rate in told}
        slopes.append(calibration(told, there).slope)
    return float(np.mean(slopes))


def _seeds(runs: Sequence[RunScores]) -> tuple[int, ...]:
    return tuple(int(s) for run in runs if (s := run.record["train_seed"]) is not None)


def _sd(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan
