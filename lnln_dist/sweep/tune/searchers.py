"""Searchers of Ray's that a sweep's YAML names."""

import difflib
import importlib
import inspect
import logging
import math
from collections.abc import Mapping
from typing import Any

from lnln_dist.errors import ConfigError, UserError, one_line
from lnln_dist.metrics import DIRECTION
from lnln_dist.sweep import axes
from lnln_dist.sweep.space import Setting, Space
from lnln_dist.sweep.state import Proposer
from lnln_dist.sweep.study import Axis, SweepConfig

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
TRIES = 20  # proposals in a row that were there already before a stratum counts as used up


def kind(sweep: SweepConfig) -> Any:
    """The searcher's class.

    Raises:
        ConfigError: there is none of that name, or an argument of that name.
        UserError: its package is not installed.
    """
    name = sweep.search.searcher
    if name not in SEARCHERS:
        raise ConfigError(f"search: {name!r} is no searcher; known: {', '.join(SEARCHERS)}")
    package, seed = SEARCHERS[name]
    if seed in sweep.search.arguments:
        raise ConfigError(f"search: {name}: its {seed} is search.seed: set that")
    try:
        importlib.import_module(package)
    except ImportError as err:
        raise UserError(f"search: {name} needs {package}: pip install {package}") from err
    # Each study and each of its trials would be a line.
    logging.getLogger(package).setLevel(logging.WARNING)
    found = getattr(importlib.import_module(f"ray.tune.search.{package}"), name)
    check_arguments(found, sweep.search.arguments, f"search: {name}")
    return found


def try_out(made: Space) -> None:
    """Makes a searcher and lets it propose once, for nobody.

    Raises:
        UserError: the YAML names none that can be used.
    """
    search, searcher_class = made.sweep.search, kind(made.sweep)
    try:
        _make(searcher_class, made, search.seed).suggest("nobody")
    except Exception as err:  # whatever a searcher's checks raise
        raise refused(f"search: {search.searcher}", search.arguments, err) from err


def _make(searcher_class: Any, space: Space, seed: int) -> Any:
    sweep, metric = space.sweep, space.common.select.metric
    made = searcher_class(
        metric=metric,
        mode="min" if DIRECTION[metric] < 0 else "max",
        **{SEARCHERS[sweep.search.searcher][1]: seed, **sweep.search.arguments},
    )
    domains = {name: domain(axis) for name, axis in _drawn(sweep).items()}
    made.set_search_properties(None, None, domains)
    return made


def _drawn(sweep: SweepConfig) -> dict[str, Axis]:
    return {name: axis for name, axis in sweep.axes.items() if not axis.grid}


def proposer(sweep: SweepConfig) -> Proposer:
    """A source of settings that asks one searcher of Ray's per stratum.

    A searcher has no memory over sessions: a resumed one draws by another seed, and OptunaSearch
    is told what is known by then.
    """
    searcher_class, drawn = kind(sweep), _drawn(sweep)
    searchers: dict[str, Any] = {}
    asked: dict[str, str] = {}  # setting -> id of its proposal, until its result is told

    def start(space: Space, known: Mapping[str, tuple[int, float]]) -> Any:
        made = _make(searcher_class, space, sweep.search.seed + len(known))
        direction = DIRECTION[space.common.select.metric]
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


def check_arguments(kind: Any, given: Mapping[str, Any], at: str) -> None:
    """Refuses arguments that a class of Ray's does not take, or that the sweep itself gives.

    Args:
        kind: the class.
        given: its arguments by name.
        at: where they stand in the YAML.

    Raises:
        ConfigError: names the argument, and the nearest known.
    """
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


def refused(at: str, given: Mapping[str, Any], err: Exception) -> ConfigError:
    """The line for what a class of Ray's raised when it was made with ``given``."""
    said = ", ".join(f"{name}: {value}" for name, value in given.items())
    return ConfigError(f"{at}: {one_line(err)}{f' (given {said})' if said else ''}")


def domain(axis: Axis) -> Any:
    """An axis as Tune knows it; of a choice the number of the value, as values may be lists."""
    from ray import tune

    if axis.choice:
        return tune.choice(list(range(len(axis.choice))))
    low, high = axis.span or (0.0, 1.0)
    return tune.uniform(low, high) if axis.uniform else tune.loguniform(low, high)


def _asked(axis: Axis, value: Any) -> Any:
    return list(axis.choice).index(value) if axis.choice else value


def _value(axis: Axis, found: Any) -> Any:
    if axis.choice:
        return list(axis.choice)[found]
    return axes.rounded(float(found), axis.span or (0.0, 1.0))
