"""Schedulers of Ray's that a sweep's YAML names, and the check of all that it names of Ray's."""

import difflib
import inspect
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from lnln_dist.errors import ConfigError
from lnln_dist.sweep import axes
from lnln_dist.sweep.space import Space
from lnln_dist.sweep.state import Study
from lnln_dist.sweep.study import PBT, Axis, NativeConfig, SweepConfig
from lnln_dist.sweep.tune import callbacks, searchers
from lnln_dist.sweep.tune.cluster import quiet_ray

WHOLE = ("HyperBandScheduler", PBT)  # they compare all trials of a stratum, not the first to come
SCHEDULERS = ("ASHAScheduler", "AsyncHyperBandScheduler", "MedianStoppingRule", *WHOLE)
ALTERABLE = ("loss.", "noise.", "optim.")  # settings that a trained model can go on with
PERTURBATIONS = 5  # in a training, unless the sweep says how many epochs lie between them


def check(made: Space) -> None:
    """Refuses unknown names and arguments, and a population that would not be screened.

    Raises:
        ConfigError: names the key.
    """
    sweep = made.sweep
    with quiet_ray():
        given = sweep.screen.scheduler
        if isinstance(given, NativeConfig):
            kind = _scheduler(given)
            at = f"screen.scheduler: {given.ray}"
            searchers.check_arguments(kind, given.arguments, at)
            _check_values(kind, given.arguments, at)
            _check_whole(made, given.ray)
            own = _own_arguments(kind, sweep, longest=_longest(made))
            _make(kind, own, given)
            if given.ray == PBT:
                _check_changes({**own, **given.arguments}, _longest(made))
        if sweep.search.proposes:
            searchers.try_out(made)
        callbacks.build(sweep)


def scheduler(sweep: SweepConfig, study: Study) -> Callable[[], Any] | None:
    """Makes the scheduler of Ray's that the sweep names; None: it names none."""
    given = sweep.screen.scheduler
    if isinstance(given, str):
        return None
    kind = _scheduler(given)
    own = {"metric": study.metric, "mode": "min" if study.direction < 0 else "max"}
    own |= _own_arguments(kind, sweep, longest=_longest(study.space))
    return lambda: _make(kind, own, given)


def needs_all(sweep: SweepConfig) -> bool:
    """Whether Tune has to have all trials of a stratum at once."""
    given = sweep.screen.scheduler
    return isinstance(given, NativeConfig) and given.ray in WHOLE


def _make(kind: Any, own: Mapping[str, Any], given: NativeConfig) -> Any:
    try:
        return kind(**{**own, **given.arguments})
    except Exception as err:  # whatever a scheduler's checks raise
        raise searchers.refused(f"screen.scheduler: {given.ray}", given.arguments, err) from err


def _own_arguments(kind: Any, sweep: SweepConfig, *, longest: int) -> dict[str, Any]:
    """What the sweep says of a scheduler's arguments, where the scheduler has them."""
    altered = _altered(sweep)

    def within(config: dict[str, Any]) -> dict[str, Any]:
        """Keeps what was multiplied inside its axis's bounds."""
        for name, axis in altered.items():
            if span := axis.span:
                config[name] = axes.rounded(float(config[name]), span)
        return config

    own = {
        "time_attr": "training_iteration",
        "max_t": longest,
        "perturbation_interval": max(1, longest // PERTURBATIONS),
        "synch": True,  # else a trial would take over one that is being replaced itself
        "hyperparam_mutations": {
            name: list(axis.choice) if axis.choice else searchers.domain(axis)
            for name, axis in altered.items()
        },
        "custom_explore_fn": within,
    }
    known = inspect.signature(kind).parameters
    return {name: value for name, value in own.items() if name in known}


def _altered(sweep: SweepConfig) -> dict[str, Axis]:
    """Axes that population based training changes."""
    return {
        name: axis
        for name, axis in sweep.axes.items()
        if not axis.grid and axes.points(axis) is None and name.startswith(ALTERABLE)
    }


def _check_whole(made: Space, name: str) -> None:
    """Refuses what a scheduler that compares a whole population cannot do."""
    sweep = made.sweep
    at = f"screen.scheduler: {name}"
    if name in WHOLE and sweep.search.proposes:
        raise ConfigError(
            f"{at} compares all trials at once, search {sweep.search.searcher} proposes them one "
            "by one: use search: {kind: random, samples: N}, or ASHAScheduler"
        )
    if name == PBT and len(sweep.seeds) > 1:
        raise ConfigError(
            f"{at} changes settings while they train, so that other seeds cannot repeat one: list "
            "one seed under seeds"
        )
    if name == PBT and not _altered(sweep):
        raise ConfigError(
            f"{at} has nothing to change: give an axis over {', '.join(ALTERABLE)}... by uniform, "
            "loguniform or choice, with search: {kind: random, samples: N}"
        )
    if name == PBT:
        for stratum, size in Counter(setting.stratum for setting in made.settings).items():
            if size <= sweep.confirm.best:
                raise ConfigError(
                    f"{at}: stratum {stratum} is a population of {size}, all of which would be "
                    f"confirmed as they are (confirm.best {sweep.confirm.best}): raise "
                    "search.samples above it"
                )


def _check_values(kind: Any, given: Mapping[str, Any], at: str) -> None:
    """Refuses what Ray would take, and stumble over in the middle of a sweep."""
    known = inspect.signature(kind).parameters
    for name, value in given.items():
        like = known[name].default
        if isinstance(like, bool):
            fits, want = isinstance(value, bool), "true or false"
        elif isinstance(like, tuple):
            fits = (
                isinstance(value, list) and len(value) == len(like) and min(map(_size, value)) > 0
            )
            want = f"{len(like)} numbers above 0, such as {list(like)}"
        elif name == "reduction_factor":
            fits, want = _size(value) > 1, "a number above 1"
        elif name == "resample_probability":
            fits, want = 0 <= _size(value) <= 1, "a number from 0 to 1"
        else:
            fits, want = _size(value) >= 0, "a number, 0 or above"
        if not fits:
            raise ConfigError(f"{at}: {name} {value!r} is not {want}")


def _size(value: Any) -> float:
    """A number as it is; below all others what is none, or not finite."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and math.isfinite(value) else -math.inf


def _check_changes(arguments: Mapping[str, Any], longest: int) -> None:
    """Refuses a population in which nothing would ever be changed."""
    for name in ("perturbation_interval", "burn_in_period"):
        if (value := arguments.get(name, 0)) > longest - 1:
            raise ConfigError(
                f"screen.scheduler: {PBT}: {name} {value} leaves no epoch to go on with what is "
                f"changed, as a training has {longest}: lower it, or train longer"
            )
    if arguments.get("quantile_fraction") == 0:
        raise ConfigError(
            f"screen.scheduler: {PBT}: quantile_fraction 0 replaces nobody: raise it, to at most "
            "0.5, or leave it out"
        )


def _longest(made: Space) -> int:
    """Epochs of a training while screening."""
    own = (setting.epochs for setting in made.settings)
    return made.sweep.screen.epochs or max(own, default=made.common.train.epochs)


def _scheduler(given: NativeConfig) -> Any:
    from ray.tune import schedulers

    if given.ray not in SCHEDULERS:
        near = difflib.get_close_matches(given.ray, SCHEDULERS, n=1)
        raise ConfigError(
            f"screen.scheduler: {given.ray!r} is no scheduler; "
            + (f"did you mean {near[0]}?" if near else f"known: {', '.join(SCHEDULERS)}")
        )
    return getattr(schedulers, given.ray)
