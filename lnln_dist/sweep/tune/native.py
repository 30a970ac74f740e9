"""Schedulers, searchers and callbacks of Ray's that a sweep's YAML names."""

import difflib
import importlib
import inspect
import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from lnln_dist.errors import ConfigError, UserError
from lnln_dist.metrics import DIRECTION
from lnln_dist.sweep import axes
from lnln_dist.sweep.space import Setting, Space
from lnln_dist.sweep.state import Proposer, Study
from lnln_dist.sweep.study import PBT, Axis, NativeConfig, SweepConfig
from lnln_dist.sweep.tune.cluster import quiet_ray

WHOLE = ("HyperBandScheduler", PBT)  # they compare all trials of a stratum, not the first to come
SCHEDULERS = ("ASHAScheduler", "AsyncHyperBandScheduler", "MedianStoppingRule", *WHOLE)
# Their packages, and how they call the seed that they get from search.seed.
SEARCHERS = {
    "OptunaSearch": ("optuna", "seed"),
    "HyperOptSearch": ("hyperopt", "random_state_seed"),
}
# Arguments that the sweep itself gives.
OURS = (
    "metric",
    "mode",
    "space",
    "time_attr",
    "synch",
    "hyperparam_mutations",
    "custom_explore_fn",
)
ALTERABLE = ("loss.", "noise.", "optim.")  # settings that a trained model can go on with
PERTURBATIONS = 5  # in a training, unless the sweep says how many epochs lie between them
TRIES = 20  # proposals in a row that were there already before a stratum counts as used up
LOGGERS = {
    "csv": "CSVLoggerCallback",
    "json": "JsonLoggerCallback",
    "tensorboard": "TBXLoggerCallback",
}


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
            _arguments(kind, given.arguments, f"screen.scheduler: {given.ray}")
            _check_whole(made, given.ray)
            own = _own_arguments(kind, sweep, longest=_longest(made))
            _make(kind, own, given)
            if given.ray == PBT:
                _check_changes({**own, **given.arguments}, _longest(made))
        if sweep.search.proposes:
            _searcher_class(sweep)
        callbacks(sweep)


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
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # a division by nothing, by numpy
            return kind(**{**own, **given.arguments})
    except Exception as err:  # whatever a scheduler's checks raise
        problem = " ".join(str(err).split()) or type(err).__name__
        said = ", ".join(f"{name}: {value}" for name, value in given.arguments.items())
        raise ConfigError(
            f"screen.scheduler: {given.ray}: {problem}{f' (given {said})' if said else ''}"
        ) from err


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
            name: list(axis.choice) if axis.choice else _domain(axis)
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


def _check_changes(arguments: Mapping[str, Any], longest: int) -> None:
    """Refuses a population in which nothing would ever be changed."""
    for name in ("perturbation_interval", "burn_in_period"):
        if (value := arguments.get(name, 0)) >= longest:
            raise ConfigError(
                f"screen.scheduler: {PBT}: {name} {value} is no less than the {longest} epochs of "
                "a training, so that nothing would be changed: lower it, or train longer"
            )
    if arguments.get("quantile_fraction") == 0:
        raise ConfigError(
            f"screen.scheduler: {PBT}: quantile_fraction 0 replaces nobody: raise it, to at most "
            "0.5, or leave it out"
        )


def _longest(made: Space) -> int:
    """Epochs of a training while screening."""
    return made.sweep.screen.epochs or made.common.train.epochs


def _scheduler(given: NativeConfig) -> Any:
    from ray.tune import schedulers

    if given.ray not in SCHEDULERS:
        near = difflib.get_close_matches(given.ray, SCHEDULERS, n=1)
        raise ConfigError(
            f"screen.scheduler: {given.ray!r} is no scheduler; "
            + (f"did you mean {near[0]}?" if near else f"known: {', '.join(SCHEDULERS)}")
        )
    return getattr(schedulers, given.ray)


def _arguments(kind: Any, given: Mapping[str, Any], at: str) -> None:
    known = [name for name in inspect.signature(kind).parameters if name not in OURS]
    for name in given:
        if name in OURS:
            raise ConfigError(f"{at}: {name} is given by the sweep: leave it out")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise ConfigError(
                f"{at} has no argument {name}; "
                + (f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}")
            )


def callbacks(sweep: SweepConfig) -> list[Any]:
    """The callbacks that the sweep names, and Tune's own loggers.

    Raises:
        ConfigError: there is no such callback, or it cannot be made so.
    """
    from ray.tune import logger

    made = [getattr(logger, LOGGERS[name])() for name in sweep.loggers]
    for item in sweep.callbacks:
        ((path, given),) = item.items()
        module, _, name = path.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as err:
            raise ConfigError(f"callbacks: {path} cannot be imported ({err})") from err
        try:
            made.append(kind(**given))
        except Exception as err:  # whatever a callback of somebody else's raises
            raise ConfigError(f"callbacks: {path}: {' '.join(str(err).split())}") from err
    return made


def _searcher_class(sweep: SweepConfig) -> Any:
    name = sweep.search.searcher
    if name not in SEARCHERS:
        raise ConfigError(f"search: {name!r} is no searcher; known: {', '.join(SEARCHERS)}")
    package, _ = SEARCHERS[name]
    try:
        importlib.import_module(package)
    except ImportError as err:
        raise UserError(f"search: {name} needs {package}: pip install {package}") from err
    # Each study and each of its trials would be a line.
    logging.getLogger(package).setLevel(logging.WARNING)
    kind = getattr(importlib.import_module(f"ray.tune.search.{package}"), name)
    _arguments(kind, sweep.search.arguments, f"search: {name}")
    return kind


def proposer(sweep: SweepConfig) -> Proposer:
    """A source of settings that asks one searcher of Ray's per stratum.

    A searcher has no memory over sessions: a resumed one draws by another seed, and OptunaSearch
    is told what is known by then.
    """
    kind = _searcher_class(sweep)
    drawn = {name: axis for name, axis in sweep.axes.items() if not axis.grid}
    searchers: dict[str, Any] = {}
    asked: dict[str, str] = {}  # setting -> id of its proposal, until its result is told

    def start(space: Space, known: Mapping[str, tuple[int, float]]) -> Any:
        metric, seed = space.common.select.metric, sweep.search.seed + len(known)
        direction = DIRECTION[metric]
        made = kind(
            metric=metric,
            mode="min" if direction < 0 else "max",
            **{SEARCHERS[sweep.search.searcher][1]: seed, **sweep.search.arguments},
        )
        made.set_search_properties(None, None, {name: _domain(a) for name, a in drawn.items()})
        if hasattr(made, "add_evaluated_point"):
            for setting in space.settings:
                epoch, cost = known.get(setting.name, (0, math.inf))
                if epoch and cost < math.inf:
                    point = {name: _asked(a, setting.values[name]) for name, a in drawn.items()}
                    made.add_evaluated_point(point, -direction * cost)
        return made

    def propose(
        space: Space, stratum: str, known: Mapping[str, tuple[int, float]]
    ) -> Setting | None:
        metric = space.common.select.metric
        if stratum not in searchers:
            searchers[stratum] = start(space, known)
        searcher = searchers[stratum]
        for name in [name for name in asked if known.get(name, (0,))[0]]:
            failed = known[name][1] == math.inf
            score = None if failed else {metric: -DIRECTION[metric] * known[name][1]}
            searcher.on_trial_complete(asked.pop(name), score, error=failed)
        for number in range(TRIES):
            trial_id = f"{stratum}-{len(known)}-{number}"
            found = searcher.suggest(trial_id)
            if not isinstance(found, dict):
                return None
            values = {name: _value(axis, found[name]) for name, axis in drawn.items()}
            made = space.add(space.strata[stratum] | values)
            if made is not None:
                asked[made.name] = trial_id
                return made
        return None

    return propose


def _domain(axis: Axis) -> Any:
    from ray import tune

    if axis.choice:
        return tune.choice(list(range(len(axis.choice))))  # by number: values may be lists
    low, high = axis.span or (0.0, 1.0)
    return tune.uniform(low, high) if axis.uniform else tune.loguniform(low, high)


def _asked(axis: Axis, value: Any) -> Any:
    return list(axis.choice).index(value) if axis.choice else value


def _value(axis: Axis, found: Any) -> Any:
    if axis.choice:
        return list(axis.choice)[found]
    return axes.rounded(float(found), axis.span or (0.0, 1.0))
