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
from lnln_dist.sweep.study import SweepConfig

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
    sweep: SweepConfig,
    candidates: Sequence[Candidate],
    progress: Mapping[tuple[str, int], Progress],
    *,
    open_strata: frozenset[str] = frozenset(),
) -> Plan:
    """Everything that must still be trained, given what the trials have reached.

    Args:
        sweep: its seeds and stages.
        candidates: in their fixed order.
        progress: by (candidate, seed); missing means not started.
        open_strata: strata that more candidates may still join.
    """
    out = Plan()
    decided = set()
    for stratum in dict.fromkeys(c.stratum for c in candidates):
        members = [c for c in candidates if c.stratum == stratum]
        done = _screen(sweep, members, progress, stratum not in open_strata, out)
        if done:
            decided.add(stratum)
            for member in members:
                if out.verdicts[member.name].chosen:
                    out.stretches.extend(
                        _missing(member.name, sweep.seeds, member.epochs, "confirm", progress)
                    )
    # The longest work first, so that little is left running alone at the end.
    out.stretches.sort(key=lambda s: (s.stage != "confirm", -s.until))
    return Plan(out.stretches, out.verdicts, out.rungs, frozenset(decided))


def _screen(
    sweep: SweepConfig,
    members: Sequence[Candidate],
    progress: Mapping[tuple[str, int], Progress],
    closed: bool,
    out: Plan,
) -> bool:
    """Adds one stratum's screening to ``out``; tells whether it is over."""
    seeds = sweep.seeds[: sweep.screen.seeds]

    def cost(name: str, epoch: int) -> float | None:
        values = [progress.get((name, seed), _NOTHING).at(epoch) for seed in seeds]
        known = [v for v in values if v is not None]
        if math.inf in known:
            return math.inf  # one failed replica decides for all
        return sum(known) / len(known) if len(known) == len(seeds) else None

    if closed and len(members) <= sweep.confirm.best:
        for member in members:
            out.verdicts[member.name] = Verdict(0, math.nan, None, True)
        return True
    ladders = _ladders(sweep, members, cost, closed)
    out.rungs[members[0].stratum] = ladders
    for rungs in ladders:
        for rung in reversed(rungs):
            for name in rung.names:
                if cost(name, rung.epoch) is None:
                    out.stretches.extend(_missing(name, seeds, rung.epoch, "screen", progress))
    over = all(rung.over for rungs in ladders for rung in rungs)
    _judge(members, ladders, cost, sweep.confirm.best if over else None, out)
    return over


def milestones(sweep: SweepConfig, longest: int) -> list[tuple[int, ...]]:
    """Epochs at which screening decides, by bracket, if a full training has ``longest``."""
    screen = sweep.screen
    end = screen.epochs or longest
    if not screen.halves:
        return [(end,)]
    grace, reduction = screen.grace_epochs, screen.reduction
    return [
        halving.milestones(grace=grace, reduction=reduction, longest=end, bracket=bracket)
        for bracket in range(screen.brackets)
    ]


def _ladders(
    sweep: SweepConfig, members: Sequence[Candidate], cost: halving.ScoreAt, closed: bool
) -> list[list[halving.Rung]]:
    brackets = milestones(sweep, max(m.epochs for m in members))
    reduction = sweep.screen.reduction
    places = halving.brackets_of(len(members), brackets=len(brackets), reduction=reduction)
    return [
        halving.climb(
            [m.name for m, place in zip(members, places, strict=True) if place == bracket],
            epochs=epochs,
            reduction=reduction,
            cost=cost,
            closed=closed,
        )
        for bracket, epochs in enumerate(brackets)
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
    sweep: SweepConfig,
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
    while stretches := plan(sweep, candidates, progress).stretches:
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


def expected(sweep: SweepConfig, candidates: Sequence[Candidate]) -> Cost:
    """What a sweep costs if its settings are ranked by chance."""
    played = []
    for number in range(ROUNDS):
        draw = random.Random(number)  # noqa: S311 nothing to keep secret
        level = {c.name: draw.random() for c in candidates}
        played.append(play(sweep, candidates, lambda name, seed, epoch, at=level: at[name]))  # type: ignore[misc]  # noqa: ARG005
    epochs = sum(len(progress.costs) for one in played for progress in one.values())
    full = sum(c.epochs for c in candidates) * len(sweep.seeds)
    return Cost(epochs / ROUNDS, sum(map(len, played)) / ROUNDS, full)
