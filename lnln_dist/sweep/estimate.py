"""What a sweep will cost before anything is trained; no torch, no Ray."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from lnln_dist.sweep.planner import Candidate, Progress, Rules, Segment, plan
from lnln_dist.sweep.space import Space

ROUNDS = 5  # sweeps played with random scores; the spread between them is small


class Cost(NamedTuple):
    """Epochs of training, over all trials."""

    epochs: float  # expected
    trials: float  # expected number of (setting, seed) that are started
    full: int  # of the full grid: every setting on every seed to the end


def rules_of(space: Space) -> Rules:
    """The planner's rules of a sweep."""
    screen = space.sweep.screen
    return Rules(
        seeds=space.sweep.seeds,
        screen_seeds=screen.seeds,
        grace=screen.grace_epochs,
        reduction=screen.reduction,
        brackets=screen.brackets,
        longest=screen.epochs,
        best=space.sweep.confirm.best,
        stop=screen.scheduler == "asha",
    )


def play(
    rules: Rules,
    candidates: Sequence[Candidate],
    cost: Callable[[str, int, int], float],
    *,
    pick: Callable[[list[Segment]], int] | None = None,
) -> dict[tuple[str, int], Progress]:
    """Runs the planner to the end with made-up scores.

    Args:
        cost: best objective of (candidate, seed) after an epoch, smaller is better.
        pick: which of the needed segments finishes next, alone; None: all of them do. The end is
            the same, since everything in a plan is needed, but a plan per segment takes long.
    """
    lengths = {c.name: c.epochs for c in candidates}
    progress: dict[tuple[str, int], Progress] = {}
    while segments := plan(rules, candidates, progress).segments:
        for done in [segments[pick(segments)]] if pick else segments:
            known = progress.get((done.name, done.seed), Progress()).costs
            until = min(done.until, lengths[done.name])
            more = [cost(done.name, done.seed, e) for e in range(len(known) + 1, until + 1)]
            finished = until == lengths[done.name]
            progress[done.name, done.seed] = Progress((*known, *more), finished=finished)
    return progress


def _levels(level: Mapping[str, float]) -> Callable[[str, int, int], float]:
    return lambda name, seed, epoch: level[name]  # noqa: ARG005


def estimate(space: Space) -> Cost:
    """Expected cost of a sweep whose settings were ranked by chance.

    A sampler's settings are not known yet; as many as it will propose are counted.
    """
    candidates = [Candidate(s.name, s.stratum, s.epochs) for s in space.settings]
    if not candidates:
        epochs = space.common.train.epochs
        candidates = [
            Candidate(f"{stratum} {number}", stratum, epochs)
            for stratum in space.strata
            for number in range(space.sweep.search.samples or 1)
        ]
    rules = rules_of(space)
    epochs, trials = 0, 0
    for number in range(ROUNDS):
        draw = random.Random(number)  # noqa: S311 nothing to keep secret
        level = {c.name: draw.random() for c in candidates}
        played = play(rules, candidates, _levels(level))
        epochs += sum(len(p.costs) for p in played.values())
        trials += len(played)
    full = sum(c.epochs for c in candidates) * len(rules.seeds)
    return Cost(epochs / ROUNDS, trials / ROUNDS, full)
