"""What strata are for: Ray's own ASHA over mixed missing rates, and ours beside it."""

import itertools
from types import SimpleNamespace

import pytest

from lnln_dist.sweep import study
from lnln_dist.sweep.planner import Candidate, play

RATES = {"easy": 0.2, "hard": 0.9}
WEIGHTS = range(6)
EPOCHS = 9


def error(rate: str, weight: int, epoch: int) -> float:
    """Mean absolute error: the rate counts for far more than the weight (0 is the best)."""
    return (0.8 + 0.6 * RATES[rate] + 0.02 * weight) / epoch**0.1


def ray_asha() -> dict[tuple[str, int], int]:
    """Epochs that Ray's scheduler gives each trial, all of them reporting in turn."""
    pytest.importorskip("ray", reason="compares with Ray's scheduler")
    from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

    asha = AsyncHyperBandScheduler(
        time_attr="epoch", metric="mae", mode="min", max_t=EPOCHS, grace_period=1,
        reduction_factor=3, brackets=1,
    )  # fmt: skip
    trials = {
        (rate, weight): SimpleNamespace(trial_id=f"{rate}{weight}", config={}, status="RUNNING")
        for weight, rate in itertools.product(WEIGHTS, RATES)
    }
    epochs = dict.fromkeys(trials, 0)
    for trial in trials.values():
        asha.on_trial_add(None, trial)
    alive = dict(trials)
    for epoch in range(1, EPOCHS + 1):
        for key, trial in list(alive.items()):
            result = {"epoch": epoch, "mae": error(*key, epoch), "training_iteration": epoch}
            epochs[key] = epoch
            if asha.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                del alive[key]
    return epochs


def ours(stratum_of: dict[str, str]) -> dict[tuple[str, int], int]:
    """Epochs that our planner gives, the strata being as told."""
    names = {f"{rate} {w}": (rate, w) for w, rate in itertools.product(WEIGHTS, RATES)}
    candidates = [Candidate(name, stratum_of[key[0]], EPOCHS) for name, key in names.items()]
    played = play(study.build({}), candidates, lambda name, seed, epoch: error(*names[name], epoch))
    return {names[name]: len(progress.costs) for (name, _), progress in played.items()}


def test_plain_asha_over_mixed_rates_stops_every_hard_rate_trial() -> None:
    epochs = ray_asha()
    # The very first reports always pass its first rung; no trial of the hard rate gets further.
    assert max(n for (rate, _), n in epochs.items() if rate == "hard") < EPOCHS
    assert max(n for (rate, _), n in epochs.items() if rate == "easy") == EPOCHS
    assert epochs["hard", 0] < EPOCHS


def test_ours_without_strata_would_fail_alike() -> None:
    epochs = ours({"easy": "all", "hard": "all"})
    assert epochs["easy", 0] == EPOCHS
    assert max(n for (rate, _), n in epochs.items() if rate == "hard") < EPOCHS


def test_ours_keeps_the_best_setting_of_every_stratum() -> None:
    epochs = ours({"easy": "easy", "hard": "hard"})
    assert epochs["easy", 0] == epochs["hard", 0] == EPOCHS
    assert sum(epochs.values()) < 0.5 * len(epochs) * EPOCHS
