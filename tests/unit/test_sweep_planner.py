"""Two stages, strata and seeds."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_standin import resolve

from lnln_dist.sweep import planner, study
from lnln_dist.sweep.planner import Candidate, Plan, Progress, Stretch, plan, play


def stages(best: int = 1, seeds: tuple[int, ...] = (1, 2, 3), **screen: Any) -> study.SweepConfig:
    raw = {"seeds": seeds, "screen": {"seeds": 2, **screen}, "confirm": {"best": best}}
    return study.build(raw)


RULES = stages()


def candidates(count: int, *, stratum: str = "all", epochs: int = 9) -> list[Candidate]:
    return [Candidate(f"{stratum}{i}", stratum, epochs) for i in range(count)]


def test_screening_starts_with_the_first_seeds() -> None:
    stretches = plan(RULES, candidates(3), {}).stretches
    assert stretches == [Stretch(f"all{i}", seed, 1, "screen") for i in range(3) for seed in (1, 2)]


def test_a_candidate_waits_for_all_its_seeds_and_is_judged_by_their_mean() -> None:
    members = candidates(3)
    reached = {(f"all{i}", seed): Progress((5.0 - i,)) for i in range(3) for seed in (1, 2)}
    del reached["all2", 2]
    assert plan(RULES, members, reached).stretches == [Stretch("all2", 2, 1, "screen")]
    # One brilliant seed and a poor one: 2 and 4.4 are worse on average than 3 and 3.
    reached |= {("all2", 2): Progress((4.4,)), ("all2", 1): Progress((2.0,))}
    reached |= {("all1", 1): Progress((3.0,)), ("all1", 2): Progress((3.0,))}
    up = [s for s in plan(RULES, members, reached).stretches if s.until == 3]
    assert up == [Stretch("all1", 1, 3, "screen"), Stretch("all1", 2, 3, "screen")]


def test_both_seeds_stop_together() -> None:
    played = play(RULES, candidates(9), lambda name, seed, epoch: int(name[3:]) + 0.1 * seed)
    for i in range(9):
        assert len(played[f"all{i}", 1].costs) == len(played[f"all{i}", 2].costs)
    assert {seed for name, seed in played if name == "all0"} == {1, 2, 3}
    assert all(len(played["all0", seed].costs) == 9 for seed in (1, 2, 3))
    assert len(played["all8", 1].costs) == 1


def test_only_the_best_of_every_stratum_is_confirmed_on_all_seeds() -> None:
    members = candidates(5, stratum="easy") + candidates(5, stratum="hard")

    def cost(name: str, seed: int, epoch: int) -> float:
        return (10.0 if name.startswith("hard") else 1.0) + int(name[-1]) / 10

    played = play(stages(best=2), members, cost)
    confirmed = {name for name, seed in played if seed == 3}
    assert confirmed == {"easy0", "easy1", "hard0", "hard1"}


def test_a_failed_seed_drops_its_candidate_and_the_rest_goes_on() -> None:
    members = candidates(4)
    reached = {(c.name, s): Progress((float(i),)) for i, c in enumerate(members) for s in (1, 2)}
    reached["all0", 2] = Progress((), failed=True)
    made = plan(RULES, members, reached)
    assert made.verdicts["all0"].cost == math.inf
    assert {s.name for s in made.stretches} == {"all1"}


def test_nothing_to_screen_goes_straight_to_confirmation() -> None:
    made = plan(stages(best=3), candidates(2), {})
    assert {(s.name, s.seed, s.until, s.stage) for s in made.stretches} == {
        (f"all{i}", seed, 9, "confirm") for i in range(2) for seed in (1, 2, 3)
    }
    assert made.decided == {"all"}


def test_a_trial_that_ended_by_its_own_patience_counts_with_its_last_score() -> None:
    members = candidates(3)
    reached = {(c.name, s): Progress((float(i),)) for i, c in enumerate(members) for s in (1, 2)}
    reached["all0", 1] = reached["all0", 2] = Progress((0.0,), finished=True)
    stretches = plan(RULES, members, reached).stretches
    assert stretches == [Stretch("all0", 3, 9, "confirm")]


def test_an_open_stratum_decides_but_does_not_confirm() -> None:
    reached = {(f"all{i}", s): Progress((float(i),) * 9) for i in range(3) for s in (1, 2)}
    made = plan(RULES, candidates(3), reached, open_strata=frozenset({"all"}))
    assert not made.decided
    assert not made.stretches
    assert plan(RULES, candidates(3), reached).decided == {"all"}


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 2, 3]), st.integers(1, 14))
def test_the_outcome_does_not_depend_on_who_finishes_first(
    chance: random.Random, brackets: int, count: int
) -> None:
    table = {(f"c{i}", s): chance.random() for i in range(count) for s in (1, 2, 3)}
    rules = stages(brackets=brackets, best=2, reduction=2)

    def cost(name: str, seed: int, epoch: int) -> float:
        return table[name, seed] / epoch

    members = [Candidate(f"c{i}", "ab"[i % 2], 9) for i in range(count)]
    in_order = play(rules, members, cost)
    shuffled = play(rules, members, cost, pick=lambda s: chance.randrange(len(s)))
    assert in_order == shuffled


def test_fifo_costs_what_arithmetic_says() -> None:
    cost = resolve(screen={"scheduler": "fifo", "seeds": 2, "epochs": 4}).expected()
    # 8 settings x 2 seeds x 4 epochs, then 1 setting: 2 seeds x 5 more epochs and 1 seed x 9.
    assert cost == (8 * 2 * 4 + 2 * 5 + 9, 17, 8 * 3 * 9)


def test_halving_is_cheaper_and_confirming_all_is_the_full_grid() -> None:
    cheap = resolve().expected()
    # Everything once for one epoch on two seeds, and one setting to the end on all three.
    assert 8 * 2 + 2 * 8 + 9 <= cheap.epochs < 0.5 * cheap.full
    full = resolve(confirm={"best": 8}).expected()
    assert full.epochs == full.full == 8 * 3 * 9


def test_a_thousand_settings_take_a_few_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = 0

    def counted(*args: Any) -> Plan:
        nonlocal plans
        plans += 1
        return plan(*args)

    monkeypatch.setattr(planner, "plan", counted)
    axes = {"loss.adversarial": {"uniform": [0.0, 1.0]}}
    search = {"kind": "optuna", "samples": 1000}  # known by their number alone
    cost = resolve(axes=axes, search=search, settings={"train": {"epochs": 200}}).expected()
    assert 0.005 < cost.epochs / cost.full < 0.1
    # Milestones 1, 3, 9, 27, 81, 200, the confirmation, and that nothing is left.
    assert plans == planner.ROUNDS * 8


def test_a_samplers_settings_are_counted_before_they_are_known() -> None:
    axes = {"loss.adversarial": {"uniform": [0.0, 1.0]}, "select.rates": {"grid": [[0.1], [0.9]]}}
    cost = resolve(axes=axes, search={"kind": "optuna", "samples": 8}).expected()
    assert cost.full == 2 * 8 * 3 * 9
    assert 0 < cost.epochs < cost.full
