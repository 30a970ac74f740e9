"""Successive halving in a fixed order."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnln_dist.sweep.halving import Rung, brackets_of, climb, milestones


def known(values: dict[str, float]):
    return lambda name, epoch: values.get(name)


def test_milestones() -> None:
    assert milestones(grace=1, reduction=3, longest=12) == (1, 3, 9, 12)
    assert milestones(grace=1, reduction=3, longest=9) == (1, 3, 9)
    assert milestones(grace=2, reduction=4, longest=40, bracket=1) == (8, 32, 40)
    assert milestones(grace=5, reduction=3, longest=5) == (5,)
    assert milestones(grace=9, reduction=3, longest=5, bracket=2) == (5,)


def test_a_decision_waits_for_those_before_it_only() -> None:
    values = {"a": 3.0, "b": 1.0, "c": 2.0, "f": 0.0}
    rungs = climb("abcdef", epochs=(1, 3), reduction=3, cost=known(values), closed=True)
    assert rungs[1].names == ("b",)  # f is better, but d and e are not known yet
    assert not rungs[0].over
    assert not rungs[1].over


def test_a_failed_candidate_never_goes_up() -> None:
    values = {"a": math.inf, "b": math.inf, "c": math.inf}
    rungs = climb("abc", epochs=(1, 3), reduction=3, cost=known(values), closed=True)
    assert rungs[1] == Rung(3, (), over=True)


def test_too_few_for_the_rule_still_send_their_best_up() -> None:
    values = {"a": 2.0, "b": 1.0}
    assert climb("ab", epochs=(1, 3), reduction=3, cost=known(values), closed=True)[1].names == (
        "b",
    )
    still_open = climb("ab", epochs=(1, 3), reduction=3, cost=known(values), closed=False)
    assert still_open[1] == Rung(3, (), over=False)


@given(st.permutations(range(12)), st.integers(1, 12), st.sampled_from([2, 3, 4]))
def test_later_news_never_takes_a_promotion_back(
    costs: list[int], shown: int, reduction: int
) -> None:
    names = [f"c{i}" for i in range(12)]
    values = {n: float(c) for n, c in zip(names, costs, strict=True)}
    part = {n: values[n] for n in names[:shown]}
    early = climb(names, epochs=(1, 2, 4), reduction=reduction, cost=known(part), closed=True)
    late = climb(names, epochs=(1, 2, 4), reduction=reduction, cost=known(values), closed=True)
    for before, after in zip(early, late, strict=True):
        assert after.names[: len(before.names)] == before.names


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf]), min_size=1, max_size=25),
    st.sampled_from([2, 3, 4]),
)
def test_who_goes_up_is_what_the_rule_says(costs: list[float], reduction: int) -> None:
    """The rule written out: after each one, the best of all so far, earlier first among equals."""
    names = [f"c{i}" for i in range(len(costs))]
    expected: dict[str, None] = {}
    for count in range(1, len(costs) + 1):
        ranked = sorted(range(count), key=lambda i: (costs[i], i))
        expected |= {names[i]: None for i in ranked[: count // reduction] if costs[i] < math.inf}
    values = dict(zip(names, costs, strict=True))
    rungs = climb(names, epochs=(1, 3), reduction=reduction, cost=known(values), closed=False)
    assert rungs[1].names == tuple(expected)


@given(st.permutations(range(15)))
def test_the_best_reaches_the_top(costs: list[int]) -> None:
    names = [f"c{i}" for i in range(15)]
    values = {n: float(c) for n, c in zip(names, costs, strict=True)}
    rungs = climb(names, epochs=(1, 3, 9), reduction=3, cost=known(values), closed=True)
    best = min(names, key=values.__getitem__)
    assert best in rungs[-1].names
    assert len(names) > len(rungs[1].names) >= len(rungs[2].names) >= 1


@pytest.mark.parametrize("count", [1, 7, 40])
def test_brackets_of_a_longer_list_begin_with_those_of_a_shorter(count: int) -> None:
    longer = brackets_of(90, brackets=3, reduction=3)
    assert brackets_of(count, brackets=3, reduction=3) == longer[:count]
    assert [longer.count(b) for b in range(3)] == [62, 21, 7]
    assert brackets_of(5, brackets=1, reduction=3) == [0] * 5
