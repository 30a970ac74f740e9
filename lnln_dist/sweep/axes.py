"""Axes of a sweep: what they change, their points, draws and names; no torch, no Ray."""

import hashlib
import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lnln_dist import settings
from lnln_dist.errors import ConfigError
from lnln_dist.specs.registry import DEFAULT
from lnln_dist.sweep.study import Axis, Span, SweepConfig

DATA = "data.path"
# Scores under different values of these cannot be compared: such axes are always strata.
APART = (DATA, "recipe", "select.rates", "select.seeds", "select.noise")
# What a sweep sets for every trial.
OWN = {
    "train.seed": "seeds are replicas, not candidates: list them under seeds",
    "train.keep_checkpoints": "a sweep keeps one checkpoint per trial: leave it out",
}
REFUSED = {
    **OWN,
    "select.metric": "a sweep has one objective: set it under settings",
    "select.split": "a sweep has one objective: set it under settings",
}
# Axes and points name folders and files.
_NAME = re.compile(r"[A-Za-z0-9._+-]+")


def points(axis: Axis) -> Mapping[Any, Mapping[str, Any]] | None:
    """Named points of an axis as dotted settings, or None if it is a plain setting's."""
    given = axis.grid or axis.choice
    if not isinstance(given, dict):
        return None
    return {point: settings.flatten(changes) for point, changes in given.items()}


def changed_keys(name: str, axis: Axis) -> set[str]:
    """Settings that an axis changes."""
    named = points(axis)
    return {name} if named is None else set().union(*named.values())


def strata(sweep: SweepConfig) -> list[str]:
    """Axes within whose values settings compete."""
    return [
        name
        for name, axis in sweep.axes.items()
        if name in sweep.strata or changed_keys(name, axis) & set(APART)
    ]


def models(sweep: SweepConfig) -> list[str]:
    """Names of the models that some of its settings have."""
    named = [settings.model_name(sweep.settings) or DEFAULT]
    for name, axis in sweep.axes.items():
        if name == "model.name":
            named += axis.grid or axis.choice or ()
        for changes in (points(axis) or {}).values():
            named += [changes["model.name"]] if "model.name" in changes else []
    return list(dict.fromkeys(named))


def _check_names(sweep: SweepConfig, name: str, axis: Axis) -> None:
    for word in (name, *(points(axis) or ())):
        if not _NAME.fullmatch(word):
            raise ConfigError(
                f"axes.{name}: {word!r} names files: use only letters, digits and . _ - +"
            )
    keys = [key for model in models(sweep) for key in settings.leaf_keys(model)]
    inside = [key for key in keys if key.startswith(f"{name}.")]
    if inside and points(axis) is None:
        raise ConfigError(
            f"axes.{name}: {name} has several settings: name one of them, such as {inside[0]}"
        )


def check(sweep: SweepConfig) -> None:
    """Refuses misspelt keys, two axes over one setting, and axes that may not be swept."""
    owner: dict[str, str] = {}
    for name, axis in sweep.axes.items():
        _check_names(sweep, name, axis)
        named = points(axis)
        for point, changes in ({"": {name: 0}} if named is None else named).items():
            at = f"axes.{name}.{point}: " if point else "axes."
            settings.check_keys(changes, at=at, models=models(sweep))
        for key in sorted(changed_keys(name, axis)):
            if key in REFUSED:
                raise ConfigError(f"axes.{name}: {key}: {REFUSED[key]}")
            if key in owner:
                raise ConfigError(f"axes.{name}: {key} is set by axis {owner[key]} too")
            owner[key] = name
        if changed_keys(name, axis) == {"recipe"}:
            raise ConfigError(
                f"axes.{name}: recipe is a name for reports and computes nothing: sweep named "
                "points that set it together with the settings of configs/recipes/official.yaml"
            )
    apart = strata(sweep)
    for name, axis in sweep.axes.items():
        if name in apart and not axis.grid:
            raise ConfigError(f"axes.{name}: it makes strata, so it must be a grid")
        if name not in apart and axis.grid and sweep.search.proposes:
            raise ConfigError(f"axes.{name}: it is to be sampled: write choice instead of grid")


def grid(sweep: SweepConfig) -> Iterator[dict[str, Any]]:
    """Every combination of the grid axes' values or point names."""
    values = {name: list(axis.grid) for name, axis in sweep.axes.items() if axis.grid}
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def samples(sweep: SweepConfig) -> Iterator[dict[str, Any]]:
    """Draws of the sampled axes, the same for every grid point, so that these can be compared.

    A draw depends on the seed, its number and the axis alone: more samples or another axis leave
    it as it was.
    """
    for number in range(sweep.search.samples or 1):
        yield {
            name: _draw(axis, f"{sweep.search.seed}:{number}:{name}")
            for name, axis in sweep.axes.items()
            if not axis.grid
        }


def _draw(axis: Axis, key: str) -> Any:
    draw = random.Random(key)  # noqa: S311 a repeatable draw, nothing to keep secret
    if axis.choice:
        return draw.choice(list(axis.choice))
    assert axis.span is not None
    low, high = axis.span
    if axis.uniform:
        return rounded(draw.uniform(low, high), axis.span)
    return rounded(math.exp(draw.uniform(math.log(low), math.log(high))), axis.span)


def rounded(value: float, span: Span) -> float:
    """Four digits, what a name can show and a paper can print, but never out of the bounds."""
    low, high = span
    return min(max(float(f"{value:.4g}"), low), high)


def possible(sweep: SweepConfig, values: Mapping[str, Any]) -> bool:
    """Whether every axis can still take its value of an earlier session."""

    def can_take(axis: Axis, value: Any) -> bool:
        if axis.span is None:
            return value in list(axis.grid or axis.choice or ())
        return isinstance(value, int | float) and axis.span[0] <= value <= axis.span[1]

    return all(can_take(axis, values[name]) for name, axis in sweep.axes.items())


def apply(sweep: SweepConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values or point names of all axes -> dotted settings."""
    changes: dict[str, Any] = {}
    for name, axis in sweep.axes.items():
        named = points(axis)
        changes |= {name: values[name]} if named is None else named[values[name]]
    return changes


def label(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """Some axes' values as part of a file name, such as ``adversarial0.8_rate0.3``."""
    short = _endings(list(values))
    return "_".join(f"{short[name]}{_text(values[name])}" for name in names)


def _endings(names: Sequence[str]) -> dict[str, str]:
    """Shortest endings of the dotted names that tell them apart."""
    out = {}
    for name in names:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            ending = parts[-length:]
            if sum(other.split(".")[-length:] == ending for other in names) == 1:
                break
        out[name] = "-".join(ending)
    return out


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "-on" if value else "-off"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "+".join(_text(v) for v in value)
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "-", Path(str(value)).name).strip("-")
    return f"-{plain or hashlib.sha256(str(value).encode()).hexdigest()[:6]}"
