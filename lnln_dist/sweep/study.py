"""What a sweep's YAML says: axes, seeds, stages, resources; no torch, no Ray."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from lnln_dist import settings
from lnln_dist.config import STRICT, Count, NotNegative, Positive, Seed
from lnln_dist.errors import ConfigError

Span = tuple[float, float]
Callback = Annotated[dict[str, dict[str, Any]], Field(min_length=1, max_length=1)]
Files = Annotated[
    tuple[str, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list | tuple) else (v,))
]


def _no_bare_name(raw: Any) -> Any:
    if isinstance(raw, str) and raw[:1].isupper():
        raise ValueError(f"one of Ray's is written as {{ray: {raw}}}")
    if isinstance(raw, dict) and raw.get("ray", "") is None:
        raise ValueError("ray: names nothing; write one of Ray's as {ray: NAME}")
    return raw


OfRays = BeforeValidator(_no_bare_name)
PBT = "PopulationBasedTraining"
HALVING = ("grace_epochs", "reduction", "brackets")  # of the scheduler asha alone


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Axis:
    """The values of one setting, or of one named group of settings; give exactly one kind."""

    grid: tuple[Any, ...] | dict[str, dict[str, Any]] | None = None
    """Every value is tried. A mapping names points that set several keys at once."""
    choice: tuple[Any, ...] | dict[str, dict[str, Any]] | None = None
    """One of these is drawn per sample."""
    uniform: Span | None = None
    """Drawn evenly between two bounds."""
    loguniform: Span | None = None
    """Drawn evenly on a logarithmic scale between two positive bounds."""

    @property
    def span(self) -> Span | None:
        """The bounds between which it is drawn, if it is."""
        return self.uniform or self.loguniform

    @model_validator(mode="after")
    def _check(self) -> "Axis":
        given = [k for k in ("grid", "choice", "uniform", "loguniform") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError("give exactly one of grid, choice, uniform, loguniform, not empty")
        low, high = self.span or (0.0, 1.0)
        if not low < high:
            raise ValueError(f"the lower bound {low} must be below the upper bound {high}")
        if self.loguniform and low <= 0:
            raise ValueError(f"loguniform needs positive bounds, got {low}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NativeConfig:
    """A scheduler or searcher of Ray's."""

    ray: str
    """Its name, such as ASHAScheduler."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """They may stand beside its name."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, raw: Any) -> Any:
        """Puts what stands beside the name into the arguments."""
        if not isinstance(raw, dict) or not raw.get("ray"):
            return raw
        own = cls.__dataclass_fields__
        found: dict[str, Any] = {"kind": "ray"} if "kind" in own else {}
        found |= {key: value for key, value in raw.items() if key in own}
        beside = {key: value for key, value in raw.items() if key not in own}
        if isinstance(given := found.get("arguments", {}), dict):
            if twice := sorted(beside.keys() & given.keys()):
                raise ValueError(f"{', '.join(twice)}: stands beside ray and under arguments")
            found["arguments"] = given | beside
        return found


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SearchConfig(NativeConfig):
    """Where the settings come from."""

    kind: Literal["grid", "random", "optuna", "ray"] = "grid"
    """All grid points; or for every grid point so many samples of the other axes."""
    samples: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Samples per grid point (random) or per stratum (optuna, ray)."""
    seed: Seed = 0
    """Seed of the sampling and of the order in which settings are tried."""
    ray: str = ""
    """A searcher of Ray's, such as OptunaSearch; written as `search: {ray: NAME, samples: N}`."""

    @property
    def searcher(self) -> str:
        """Name of the searcher of Ray's that proposes."""
        return "OptunaSearch" if self.kind == "optuna" else self.ray

    @property
    def proposes(self) -> bool:
        """Whether settings are proposed one by one from the results so far."""
        return self.kind in ("optuna", "ray")

    @model_validator(mode="after")
    def _check(self) -> "SearchConfig":
        if (self.kind == "grid") != (self.samples is None):
            needs = "takes no" if self.kind == "grid" else "needs"
            raise ValueError(f"kind {self.kind} {needs} samples")
        if self.ray and self.kind != "ray":
            raise ValueError(
                f"kind {self.kind} and ray: {self.ray} are two sources of settings: leave one out, "
                "or set kind to ray"
            )
        if self.arguments and not self.proposes:
            raise ValueError(
                f"kind {self.kind} takes no {', '.join(self.arguments)}: arguments are a searcher's"
            )
        if self.kind == "ray" and not self.ray:
            raise ValueError("kind ray is written as ray: NAME, such as ray: OptunaSearch")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ScreenConfig:
    """First stage: few seeds, bad settings are stopped early."""

    scheduler: Annotated[Literal["asha", "fifo"] | NativeConfig, OfRays] = "asha"
    """Stop the worse settings at every milestone, or train all of them to `epochs`; or a scheduler
    of Ray's, {ray: ASHAScheduler, ...}, whose decisions depend on who reports first."""
    seeds: Count = 1
    """How many of the sweep's seeds screen; settings are compared by the mean over them."""
    grace_epochs: Count = 1
    """Epochs before the first decision."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One setting in so many goes on at a milestone; milestones lie this factor apart."""
    brackets: Count = 1
    """Ladders with later and later first milestones, for objectives that start slowly."""
    epochs: Count | None = None
    """Longest training while screening; null is `train.epochs`."""

    @property
    def halves(self) -> bool:
        """Whether our own rule stops the worse settings at milestones."""
        return self.scheduler == "asha"

    @property
    def alters(self) -> bool:
        """Whether settings change while they are trained: then no training can be repeated."""
        return isinstance(self.scheduler, NativeConfig) and self.scheduler.ray == PBT

    @model_validator(mode="after")
    def _check(self) -> "ScreenConfig":
        for key in () if self.halves else HALVING:
            default = type(self).__dataclass_fields__[key].default
            if getattr(self, key) != default:
                name = self.scheduler if isinstance(self.scheduler, str) else "of Ray's"
                raise ValueError(
                    f"{key} has no effect with the scheduler {name}: leave it out (or take it back "
                    f"by --set screen.{key}={default})"
                )
        if isinstance(self.scheduler, NativeConfig) and self.seeds > 1:
            raise ValueError(
                f"seeds {self.seeds}: Ray's schedulers would let the seeds of a setting compete; "
                "set screen.seeds 1, or scheduler asha"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ConfirmConfig:
    """Second stage: the best settings of every stratum on all seeds, in full."""

    best: Count = 1
    """Settings of every stratum to confirm."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ResourcesConfig:
    """What one trial occupies. Shares of a GPU are bookkeeping, not a memory limit."""

    cpus: Positive = 1.0
    """CPU cores per process."""
    gpus: NotNegative = 0.0
    """GPUs per process; a fraction puts several trials on one. 0 trains on the CPU."""
    workers: Count = 1
    """Processes per trial (data parallel, possibly over several nodes)."""
    concurrent: Count | None = None
    """Most trials at once; null is what the cluster holds."""
    retries: Annotated[int, Field(ge=0)] = 3
    """Restarts of a trial whose process or node died; it goes on from its checkpoint."""

    @property
    def bundle(self) -> dict[str, float]:
        """What one process occupies, as Ray calls it."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}

    @model_validator(mode="after")
    def _check(self) -> "ResourcesConfig":
        if self.gpus > 1:
            raise ValueError(
                f"gpus {self.gpus:g} is for one process: a trial on several GPUs has one process "
                "for each, so leave gpus at 1, set workers"
            )
        if self.workers > 1 and self.gpus not in (0, 1):
            raise ValueError("a trial of several workers needs whole GPUs (gpus 0 or 1)")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SweepConfig:
    """A sweep."""

    config: Files = ()
    """Training config files, one laid over the other; paths relative to the sweep's file."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of every trial, laid over `config`."""
    axes: dict[str, Axis] = Field(default_factory=dict)
    """Dotted setting, or a name of your own, -> its values."""
    strata: tuple[str, ...] = ()
    """Axes within whose values settings compete; data sets and scoring grids always are."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1111,)
    """Values of `train.seed`: replicas of every setting, which never compete."""
    search: Annotated[SearchConfig, OfRays] = SearchConfig()
    """Where the settings come from."""
    screen: ScreenConfig = ScreenConfig()
    """First stage."""
    confirm: ConfirmConfig = ConfirmConfig()
    """Second stage."""
    resources: ResourcesConfig = ResourcesConfig()
    """What one trial occupies."""
    keep: Literal["confirmed", "all"] = "confirmed"
    """Whose weights and checkpoints stay once a stratum is decided."""
    loggers: tuple[Literal["csv", "json", "tensorboard"], ...] = ()
    """Tune's own files of every trial, which then stay in `ray/`."""
    callbacks: tuple[Callback, ...] = ()
    """Of Ray Tune, by import path, each with its arguments."""

    @model_validator(mode="after")
    def _check(self) -> "SweepConfig":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: a seed is listed twice")
        if self.screen.seeds > len(self.seeds):
            raise ValueError(
                f"screen.seeds {self.screen.seeds} exceeds the seeds listed, {len(self.seeds)}"
            )
        unknown = sorted(set(self.strata) - set(self.axes))
        if unknown:
            raise ValueError(f"strata: {', '.join(unknown)} is no axis of this sweep")
        sampled = sorted(n for n, axis in self.axes.items() if not axis.grid)
        if sampled and self.search.kind == "grid":
            raise ValueError(
                f"search.kind grid tries every value, but {', '.join(sampled)} is to be sampled: "
                "set search.kind random or optuna and search.samples"
            )
        if not sampled and self.search.kind != "grid":
            raise ValueError(f"search.kind {self.search.kind} samples, but every axis is a grid")
        return self


def read(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """A sweep's YAML with ``KEY=VALUE`` overrides; paths of config files become absolute.

    Raises:
        ConfigError: one line naming every wrong key.
    """
    raw = settings.read_yaml(path)
    if isinstance(raw.get("settings"), dict):
        # Dotted or nested, an override has to find what it overrides.
        raw["settings"] = settings.nest(settings.flatten(raw["settings"]))
    for item in overrides:
        raw = settings.merge(raw, _override(item))
    sweep = build(raw, at=f"{path}: ")
    here = path.expanduser().resolve().parent
    return replace(sweep, config=tuple(str(here / Path(n).expanduser()) for n in sweep.config))


def build(raw: Mapping[str, Any], *, at: str = "") -> SweepConfig:
    """Nested mappings -> checked ``SweepConfig``."""
    return settings.validated(SweepConfig, raw, at=at, explain=_explain)


def dump(sweep: SweepConfig) -> str:
    """The sweep as YAML, what was left out filled in."""
    out = json.loads(TypeAdapter(SweepConfig).dump_json(sweep, exclude_none=True))
    if not sweep.screen.halves:
        out["screen"] = {k: v for k, v in out["screen"].items() if k not in HALVING}
    if not sweep.search.ray:
        del out["search"]["ray"]
    if not sweep.search.arguments:
        del out["search"]["arguments"]
    return yaml.safe_dump(out, sort_keys=False)


def plain(part: Any) -> Any:
    """A part of a sweep as lists and mappings."""
    return json.loads(TypeAdapter(type(part)).dump_json(part))


def _override(item: str) -> dict[str, Any]:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {item}: expected KEY=VALUE, such as screen.scheduler=fifo")
    value = settings.read_value(text, at=f"--set {key}")
    if value == {}:
        raise ConfigError(f"--set {item}: an empty mapping changes nothing: name a key inside it")
    if key.startswith("axes.") and key.count(".") > 1:
        # The name of an axis has dots of its own.
        name, kind = key.removeprefix("axes.").rsplit(".", 1)
        return {"axes": {name: {kind: value}}}
    return settings.nest({key: value})


def _explain(parts: list[str], item: Any) -> str:
    """As ``settings.validated`` wants it."""
    key = ".".join(parts)
    if key == "base":
        return "base: unknown key; a sweep names its training config under config"
    if item["type"] == "dataclass_type" and len(parts) == 2 and parts[0] == "axes":
        values = item["input"] if isinstance(item["input"], list) else [item["input"]]
        return f"{key}: say what to do with the values, such as grid: {json.dumps(values)}"
    return ""
