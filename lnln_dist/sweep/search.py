"""Settings proposed from the results so far by Optuna; the only importer of Optuna."""

from collections.abc import Mapping
from typing import Any

from lnln_dist.errors import UserError
from lnln_dist.sweep import axes
from lnln_dist.sweep.space import Setting, Space
from lnln_dist.sweep.study import Axis, SweepConfig

Reached = tuple[int, float]  # (epoch, cost) at a setting's last milestone; epoch 0: no news yet

TRIES = 20  # proposals in a row that were there already before a stratum counts as used up


def optuna_proposer(space: Space, stratum: str, known: Mapping[str, Reached]) -> (
    Setting | None
):  # fmt: skip
    """Adds the next setting to a stratum.

    The sampler (TPE) is made anew from the results so far, so a resumed sweep needs no state of
    its own. Settings that were stopped count as pruned at the epoch they reached; those still
    running hold their place, so that workers are not sent to the same spot.

    Args:
        known: what the stratum's settings have reached.

    Returns:
        The setting, already added, or None when the axes seem to be used up.

    Raises:
        UserError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as err:
        raise UserError(
            "search.kind optuna needs Optuna: pip install 'lnln-dist[optuna]', or use random"
        ) from err
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {
        name: _distribution(optuna, axis)
        for name, axis in space.sweep.axes.items()
        if not axis.grid
    }
    members = {made.name: made for made in space.settings if made.stratum == stratum}
    for number in range(TRIES):
        seed = space.sweep.search.seed + len(members) * TRIES + number
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        study = optuna.create_study(sampler=sampler, direction="minimize")
        for name, made in members.items():
            study.add_trial(_past(optuna, made, space.sweep, spaces, known[name]))
        drawn = study.ask(spaces).params
        values = {name: _value(space.sweep.axes[name], drawn[name]) for name in spaces}
        made_now = space.add(space.strata[stratum] | values)
        if made_now is not None:
            return made_now
    return None


def _distribution(optuna: Any, axis: Axis) -> Any:
    if axis.choice:
        # By number: values may be lists, which Optuna does not take.
        return optuna.distributions.CategoricalDistribution(range(len(axis.choice)))
    span = axis.uniform or axis.loguniform
    assert span is not None
    low, high = span
    return optuna.distributions.FloatDistribution(low, high, log=axis.loguniform is not None)


def _value(axis: Axis, drawn: Any) -> Any:
    if axis.choice:
        return list(axis.choice)[drawn]
    span = axis.uniform or axis.loguniform
    assert span is not None
    return axes.rounded(drawn, span)


def _past(
    optuna: Any, made: Setting, sweep: SweepConfig, spaces: Mapping[str, Any], reached: Reached
) -> Any:
    epoch, cost = reached
    choices = {name: list(sweep.axes[name].choice or ()) for name in spaces}
    state = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=state.PRUNED if epoch else state.RUNNING,
        params={
            name: listed.index(made.values[name]) if listed else made.values[name]
            for name, listed in choices.items()
        },
        distributions=dict(spaces),
        intermediate_values={epoch: cost} if epoch else {},
    )
