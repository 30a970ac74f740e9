"""A sweep's settings: full, checked configs with short names; no torch, no Ray."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import ConfigError
from lnln_dist.recipes import check_recipe
from lnln_dist.sweep import axes, study
from lnln_dist.sweep.planner import Candidate, Cost, expected
from lnln_dist.sweep.study import Axis, SweepConfig

ENCODER, EPOCHS = "model.encoder.name", "train.epochs"
TEACHER = "model.classifier"  # a run folder
LONGEST_NAME = 64


@dataclass(frozen=True)
class Setting:
    """One candidate: everything but the seed."""

    name: str
    stratum: str
    values: Mapping[str, Any]
    """Axis -> its value, or the name of its point."""
    key: str
    """Twelve hex digits of everything that decides what is computed, the seed apart."""
    epochs: int
    data: str
    """Folder of its data."""

    def trial(self, seed: int) -> str:
        """Name of one of its trials."""
        return f"{self.name}_s{seed}"


def longer(made: Setting) -> str:
    """A name that no other setting has."""
    return f"{made.name}-{made.key[:8]}"


@dataclass
class Space:
    """All settings of a frozen sweep, in the order in which they are tried."""

    sweep: SweepConfig
    settings: list[Setting] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    """Names of settings that compute the same as an earlier one."""

    def config(self, values: Mapping[str, Any], seed: int) -> Config:
        """The full settings of a trial at some values of the axes."""
        return self.build({**axes.apply(self.sweep, values), "train.seed": seed})

    def build(self, own: Mapping[str, Any]) -> Config:
        """The full settings of a trial with some dotted settings of its own."""
        return settings.build(settings.lay(self.shared, settings.nest(own)))

    @property
    def shared(self) -> dict[str, Any]:
        """The nested settings over which every trial's own are laid."""
        # Trials are many: the newest checkpoint is all that resuming needs.
        return settings.merge(self.sweep.settings, {"train": {"keep_checkpoints": 1}})

    def add(self, values: Mapping[str, Any]) -> Setting | None:
        """Adds a candidate at the end, or drops it if an equal one is there.

        Raises:
            ConfigError: the settings are impossible; the message begins with the candidate.
        """
        values = {name: values[name] for name in self.sweep.axes}
        made = self._make(values)
        if any(made.key == other.key for other in self.settings):
            if made.name not in self.dropped:
                self.dropped.append(made.name)  # a sampler may propose it again and again
            return None
        if any(made.name == other.name for other in self.settings):
            made = replace(made, name=longer(made))
        self.settings.append(made)
        return made

    def _make(self, values: dict[str, Any]) -> Setting:
        name = axes.label(values, list(values)) or "base"
        try:
            config = self.config(values, 0)
            check_recipe(config)
        except ConfigError as err:
            raise ConfigError(f"setting {name}: {err}") from err
        epochs = config.train.epochs
        if config.optim.steady and EPOCHS not in self.swept:
            # A longer training begins like a shorter one: both are the same setting.
            config = replace(config, train=replace(config.train, epochs=1))
        # Where data lie is not part of a config's hash, but here it may tell settings apart.
        data = config.data.path if axes.DATA in self.swept else ""
        key = _digest(f"{settings.config_hash(config)} {data}")[:12]
        if len(name) > LONGEST_NAME:
            name = f"{name[: LONGEST_NAME - 9]}-{key[:8]}"
        return Setting(name, self._stratum(values), values, key, epochs, config.data.path)

    def _stratum(self, values: Mapping[str, Any]) -> str:
        own = {name: values[name] for name in axes.strata(self.sweep)}
        for label, point in self.strata.items():
            if point == own:
                return label
        raise KeyError(f"{own} is no stratum of this sweep")

    @property
    def drawn_from(self) -> str:
        """Twelve hex digits of the axes and the search: where a sampler's settings come from."""
        plain = {name: study.plain(axis) for name, axis in self.sweep.axes.items()}
        found = json.dumps([plain, study.plain(self.sweep.search)], sort_keys=True)
        return _digest(found)[:12]

    @property
    def swept(self) -> tuple[str, ...]:
        """Dotted settings that may differ between two trials."""
        keys = {k for n, axis in self.sweep.axes.items() for k in axes.changed_keys(n, axis)}
        return (*sorted(keys), "train.seed")

    @property
    def common(self) -> Config:
        """The settings of one trial, for what all of them share."""
        point = next(axes.grid(self.sweep)) | next(axes.samples(self.sweep))
        return self.config(point, self.sweep.seeds[0])

    @property
    def unfilled(self) -> frozenset[str]:
        """Strata for which a sampler has not proposed all its settings yet."""
        if not self.sweep.search.proposes:
            return frozenset()
        count = Counter(made.stratum for made in self.settings)
        return frozenset(s for s in self.strata if count[s] < (self.sweep.search.samples or 0))

    @property
    def candidates(self) -> list[Candidate]:
        """The settings as the planner sees them."""
        return [Candidate(made.name, made.stratum, made.epochs) for made in self.settings]

    def expected(self) -> Cost:
        """Expected cost; of a sampler's settings as many are counted as it will propose."""
        numbers = range(self.sweep.search.samples or 1)
        return expected(
            self.sweep,
            self.candidates
            or [
                Candidate(f"{stratum} {number}", stratum, self.common.train.epochs)
                for stratum in self.strata
                for number in numbers
            ],
        )

    @cached_property
    def strata(self) -> dict[str, dict[str, Any]]:
        """Stratum -> the values of the axes that make it."""
        names = axes.strata(self.sweep)
        points: list[dict[str, Any]] = []
        for point in axes.grid(self.sweep):
            own = {name: point[name] for name in names}
            if own not in points:
                points.append(own)
        labels = [axes.label(point, names) or "all" for point in points]
        # A label shows the last part of a path: two folders of one name must not become one.
        return {
            label if labels.count(label) == 1 else f"{label}-{_digest(str(point))[:6]}": point
            for label, point in zip(labels, points, strict=True)
        }


def freeze(sweep: SweepConfig) -> SweepConfig:
    """The sweep without its config files: their settings merged in, paths made absolute.

    What it means no longer depends on the folder it is read from, so it can be submitted.
    """
    own = settings.nest(settings.flatten(sweep.settings))
    common = settings.read_configs([Path(name) for name in sweep.config])
    laid = replace(sweep, settings=settings.merge(common, own))
    settings.check_keys(own, at="settings.", models=axes.models(laid))
    for key in sorted(axes.OWN.keys() & settings.flatten(own)):
        raise ConfigError(f"settings.{key}: {axes.OWN[key]}")
    flat = settings.flatten(laid.settings)
    # What the sweep sets itself is left out: a training config may say it, to no effect here.
    flat = {key: absolute(key, value) for key, value in flat.items() if key not in axes.OWN}
    return replace(
        sweep,
        config=(),
        settings=settings.nest(flat),
        axes={name: _absolute_axis(name, axis) for name, axis in sweep.axes.items()},
    )


def absolute(key: str, value: Any) -> Any:
    """A relative path among the settings as seen from here; anything else as it is."""
    if not isinstance(value, str) or not value or "://" in value:
        return value
    path = Path(value).expanduser()
    # Only an existing folder is a path: other names of encoders are the hub's. Links stay: what
    # they lead to may have another name on the other nodes.
    if key in (axes.DATA, TEACHER) or (key == ENCODER and path.is_dir()):
        return str(path.absolute())
    return value


def _absolute_axis(name: str, axis: Axis) -> Axis:
    def mend(values: Any) -> Any:
        if isinstance(values, dict):
            flat = {point: settings.flatten(changes) for point, changes in values.items()}
            return {p: {k: absolute(k, v) for k, v in c.items()} for p, c in flat.items()}
        return values and tuple(absolute(name, value) for value in values)

    return replace(axis, grid=mend(axis.grid), choice=mend(axis.choice))


def resolve(sweep: SweepConfig) -> Space:
    """Every setting of a frozen sweep, checked; an Optuna search proposes its own later.

    Raises:
        ConfigError: a key is misspelt, a value impossible, an axis of no use.
    """
    assert not sweep.config, "freeze the sweep first"
    axes.check(sweep)
    space = Space(sweep)
    for point in axes.grid(sweep):
        for sample in axes.samples(sweep):
            space.add(point | sample)
    _check_stages(space)
    # Neighbours in a grid resemble each other: in its order the first would meet weak rivals.
    space.settings.sort(key=lambda s: _digest(f"{sweep.search.seed}:{s.key}"))
    if sweep.search.proposes:
        return Space(sweep)  # the draws above only showed that the axes are possible
    return space


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _check_stages(space: Space) -> None:
    screen = space.sweep.screen
    shortest = min(s.epochs for s in space.settings)
    longest = screen.epochs or shortest
    if longest > shortest:
        raise ConfigError(f"screen.epochs {longest} exceeds train.epochs {shortest}")
    if screen.halves and screen.grace_epochs > longest:
        raise ConfigError(
            f"screen.grace_epochs {screen.grace_epochs} exceeds the epochs of screening, {longest}"
        )
    later = screen.grace_epochs * screen.reduction ** (screen.brackets - 1)
    if screen.halves and screen.brackets > 1 and later >= longest:
        raise ConfigError(
            f"screen.brackets {screen.brackets}: the last one would decide nothing before epoch "
            f"{later} of {longest}, so who gets there is luck; use fewer, or a smaller grace_epochs"
        )
    config = space.config(space.settings[0].values, 0)
    several = len(space.settings) > len({s.stratum for s in space.settings})
    if config.select.split == "test" and several:
        raise ConfigError(
            "select.split test: a sweep that chooses settings must not choose by the test split; "
            "set select.split: valid under settings"
        )
