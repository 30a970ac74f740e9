"""Expected cost of a sweep."""

import copy
from typing import Any

import pytest
from sweep_standin import SWEEP

from lnln_dist.sweep import estimate as estimating
from lnln_dist.sweep import space, study
from lnln_dist.sweep.estimate import estimate, play, rules_of
from lnln_dist.sweep.planner import Candidate, Plan, plan


def resolve(**changes: Any) -> space.Space:
    return space.resolve(space.freeze(study.build({**copy.deepcopy(SWEEP), **changes})))


def test_fifo_costs_what_arithmetic_says() -> None:
    cost = estimate(resolve(screen={"scheduler": "fifo", "seeds": 2, "epochs": 4}))
    # 8 settings x 2 seeds x 4 epochs, then 1 setting: 2 seeds x 5 more epochs and 1 seed x 9.
    assert cost.epochs == 8 * 2 * 4 + 2 * 5 + 9
    assert cost.trials == 17
    assert cost.full == 8 * 3 * 9


def test_halving_is_cheaper_and_confirming_all_is_the_full_grid() -> None:
    cheap = estimate(resolve())
    # Everything once for one epoch on two seeds, and one setting to the end on all three.
    assert 8 * 2 + 2 * 8 + 9 <= cheap.epochs < 0.5 * cheap.full
    full = estimate(resolve(confirm={"best": 8}))
    assert full.epochs == full.full == 8 * 3 * 9


def test_all_stretches_at_once_cost_what_one_after_the_other_does() -> None:
    rules = rules_of(resolve(screen={"seeds": 2, "brackets": 2}, confirm={"best": 2}))
    members = [Candidate(f"c{i}", "ab"[i % 2], 9) for i in range(30)]

    def cost(name: str, seed: int, epoch: int) -> float:
        return (int(name[1:]) * 7919 % 31 + seed) / epoch

    at_once = play(rules, members, cost)
    assert at_once == play(rules, members, cost, pick=lambda segments: len(segments) - 1)


def test_a_thousand_settings_take_a_few_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = 0

    def counted(*args: Any) -> Plan:
        nonlocal plans
        plans += 1
        return plan(*args)

    monkeypatch.setattr(estimating, "plan", counted)
    axes = {"loss.adversarial": {"uniform": [0.0, 1.0]}}
    search = {"kind": "optuna", "samples": 1000}  # known by their number alone
    cost = estimate(resolve(axes=axes, search=search, settings={"train": {"epochs": 200}}))
    assert 0.005 < cost.epochs / cost.full < 0.1
    # Milestones 1, 3, 9, 27, 81, 200, the confirmation, and that nothing is left.
    assert plans == estimating.ROUNDS * 8


def test_a_samplers_settings_are_counted_before_they_are_known() -> None:
    axes = {"loss.adversarial": {"uniform": [0.0, 1.0]}, "select.rates": {"grid": [[0.1], [0.9]]}}
    cost = estimate(resolve(axes=axes, search={"kind": "optuna", "samples": 8}))
    assert cost.full == 2 * 8 * 3 * 9
    assert 0 < cost.epochs < cost.full
