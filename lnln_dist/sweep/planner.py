"""Which trial has to train how far next: screen, then confirm; a pure function, no Ray.

A candidate is a setting; its seeds are replicas that share one decision. Screening compares the
mean over the first few seeds within one stratum; the best of every stratum are then trained on all
seeds to the end. The plan is computed anew from what the trials have reached, so resuming a killed
sweep, adding seeds or adding settings is nothing special. All work in a plan is needed: nothing
is started on the chance that a later decision wants it.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from lnln_dist.sweep import halving

Stage = Literal["screen", "confirm"]
ROUNDS = 5  # sweeps played with random scores; the spread between them is small


class Candidate(NamedTuple):
    """A setting as the planner sees it."""

    name: str
    stratum: str
    epochs: int  # length of a full training


class Progress(NamedTuple):
    """What one trial has reached."""

    costs: tuple[float, ...] = ()  # after each epoch: best objective so far, smaller is better
    finished: bool = False  # nothing more to train (the last epoch, or its own patience)
    failed: bool = False

    def at(self, epoch: int) -> float | None:
        """Cost after ``epoch`` epochs, or None while it is not known."""
        if self.failed:
            return math.inf
        if len(self.costs) >= epoch:
            return self.costs[epoch - 1]
        return self.costs[-1] if self.finished and self.costs else None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How candidates are compared.

    Args:
        seeds: all seeds, in order; the first ``screen_seeds`` of them screen.
        grace: epochs before the first decision.
        longest: epochs at which screening ends; None is a full training.
        best: settings of each stratum that are confirmed.
        stop: False trains every candidate to ``longest`` before choosing (first in, first out).
    """

    seeds: tuple[int, ...]
    screen_seeds: int
    grace: int
    reduction: int
    brackets: int
    longest: int | None
    best: int
    stop: bool


class Stretch(NamedTuple):
    """Work: train one trial until an epoch."""

    name: str
    seed: int
    until: int
    stage: Stage


class Verdict(NamedTuple):
    """What screening says of a candidate."""

    epoch: int  # last milestone it has reached on all screening seeds, 0 for none
    cost: float  # mean over the screening seeds there
    rank: int | None  # within its stratum, from 1; None while screening goes on
    chosen: bool  # for confirmation


@dataclass(frozen=True)
class Plan:
    """All work that is needed now, most urgent first, and all verdicts so far."""

    stretches: list[Stretch] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    rungs: dict[str, list[list[halving.Rung]]] = field(default_factory=dict)
    """Per stratum and bracket."""
    decided: frozenset[str] = frozenset()
    """Strata whose confirmation is fixed."""


_NOTHING = Progress()


def plan(
    rules: Rules,
    candidates: Sequence[Candidate],
    progress: Mapping[tuple[str, int], Progress],
    *,
    open_strata: frozenset[str] = frozenset(),
) -> Plan:
    """Everything that must still be trained, given what the trials have reached.

    Args:
        candidates: in their fixed order.
        progress: by (candidate, seed); missing means not started.
        open_strata: strata that more candidates may still join.
    """
    out = Plan()
    decided = set()
    for stratum in dict.fromkeys(c.stratum for c in candidates):
        members = [c for c in candidates if c.stratum == stratum]
        done = _screen(rules, members, progress, stratum not in open_strata, out)
        if done:
            decided.add(stratum)
            for member in members:
                if out.verdicts[member.name].chosen:
                    out.stretches.extend(
                        _missing(member.name, rules.seeds, member.epochs, "confirm", progress)
                    )
    # The longest work first, so that little is left running alone at the end.
    out.stretches.sort(key=lambda s: (s.stage != "confirm", -s.until))
    return Plan(out.stretches, out.verdicts, out.rungs, frozenset(decided))


def _screen(
    rules: Rules,
    members: Sequence[Candidate],
    progress: Mapping[tuple[str, int], Progress],
    closed: bool,
    out: Plan,
) -> bool:
    """Adds one stratum's screening to ``out``; tells whether it is over."""
    seeds = rules.seeds[: rules.screen_seeds]

    def cost(name: str, epoch: int) -> float | None:
        values = [progress.get((name, seed), _NOTHING).at(epoch) for seed in seeds]
        known = [v for v in values if v is not None]
        if math.inf in known:
            return math.inf  # one failed replica decides for all
        return sum(known) / len(known) if len(known) == len(seeds) else None

    if closed and len(members) <= rules.best:
        for member in members:
            out.verdicts[member.name] = Verdict(0, math.nan, None, True)
        return True
    ladders = _ladders(rules, members, cost, closed)
    out.rungs[members[0].stratum] = ladders
    for rungs in ladders:
        for rung in reversed(rungs):
            for name in rung.names:
                if cost(name, rung.epoch) is None:
                    out.stretches.extend(_missing(name, seeds, rung.epoch, "screen", progress))
    over = all(rung.over for rungs in ladders for rung in rungs)
    _judge(members, ladders, cost, rules.best if over else None, out)
    return over


def _ladders(
    rules: Rules, members: Sequence[Candidate], cost: halving.ScoreAt, closed: bool
) -> list[list[halving.Rung]]:
    longest = min(rules.longest or math.inf, max(m.epochs for m in members))
    names = [m.name for m in members]
    if not rules.stop:
        return [
            halving.climb(
                names, epochs=(int(longest),), reduction=rules.reduction, cost=cost, closed=closed
            )
        ]
    places = halving.brackets_of(len(names), brackets=rules.brackets, reduction=rules.reduction)
    return [
        halving.climb(
            [name for name, place in zip(names, places, strict=True) if place == bracket],
            epochs=halving.milestones(
                grace=rules.grace,
                reduction=rules.reduction,
                longest=int(longest),
                bracket=bracket,
            ),
            reduction=rules.reduction,
            cost=cost,
            closed=closed,
        )
        for bracket in range(rules.brackets)
    ]


def _judge(
    members: Sequence[Candidate],
    ladders: Iterable[Iterable[halving.Rung]],
    cost: halving.ScoreAt,
    best: int | None,
    out: Plan,
) -> None:
    """Ranks by how far a candidate came, then by its cost there."""
    reached = {member.name: (0, math.inf) for member in members}
    for rungs in ladders:
        for rung in rungs:
            for name in rung.names:
                value = cost(name, rung.epoch)
                if value is not None:
                    reached[name] = (rung.epoch, value)
    alive = [m.name for m in members if reached[m.name][1] < math.inf]
    ranked = sorted(alive, key=lambda n: (-reached[n][0], reached[n][1]))
    for name, (epoch, value) in reached.items():
        rank = ranked.index(name) + 1 if best is not None and name in ranked else None
        chosen = best is not None and rank is not None and rank <= best
        out.verdicts[name] = Verdict(epoch, value, rank, chosen)


def _missing(
    name: str,
    seeds: Iterable[int],
    until: int,
    stage: Stage,
    progress: Mapping[tuple[str, int], Progress],
) -> Iterable[Stretch]:
    for seed in seeds:
        if progress.get((name, seed), _NOTHING).at(until) is None:
            yield Stretch(name, seed, until, stage)


def play(
    rules: Rules,
    candidates: Sequence[Candidate],
    cost: Callable[[str, int, int], float],
    *,
    pick: Callable[[list[Stretch]], int] | None = None,
) -> dict[tuple[str, int], Progress]:
    """Runs the planner to the end with made-up scores.

    Args:
        cost: best objective of (candidate, seed) after an epoch, smaller is better.
        pick: which of the needed stretches finishes next, alone; None: all of them do. The end is
            the same, since everything in a plan is needed, but a plan per stretch takes long.
    """
    lengths = {c.name: c.epochs for c in candidates}
    progress: dict[tuple[str, int], Progress] = {}
    while stretches := plan(rules, candidates, progress).stretches:
        for done in [stretches[pick(stretches)]] if pick else stretches:
            known = progress.get((done.name, done.seed), Progress()).costs
            until = min(done.until, lengths[done.name])
            more = [cost(done.name, done.seed, e) for e in range(len(known) + 1, until + 1)]
            finished = until == lengths[done.name]
            progress[done.name, done.seed] = Progress((*known, *more), finished=finished)
    return progress


class Cost(NamedTuple):
    """Epochs of training, over all trials."""

    epochs: float  # expected
    trials: float  # expected number of (setting, seed) that are started
    full: int  # of the full grid: every setting on every seed to the end


def expected(rules: Rules, candidates: Sequence[Candidate]) -> Cost:
    """What a sweep costs if its settings are ranked by chance."""
    played = []
    for number in range(ROUNDS):
        draw = random.Random(number)  # noqa: S311 nothing to keep secret
        level = {c.name: draw.random() for c in candidates}
        played.append(play(rules, candidates, lambda name, seed, epoch, at=level: at[name]))  # type: ignore[misc]  # noqa: ARG005
    epochs = sum(len(progress.costs) for one in played for progress in one.values())
    full = sum(c.epochs for c in candidates) * len(rules.seeds)
    return Cost(epochs / ROUNDS, sum(map(len, played)) / ROUNDS, full)
