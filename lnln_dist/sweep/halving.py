"""Asynchronous successive halving whose decisions do not depend on luck; no torch, no Ray.

The rule is ASHA's: of the first n candidates that finished a rung, the best floor(n / reduction)
go up. "First" here means first in the candidates' fixed order, not first to arrive: a decision
over the first n is taken as soon as those n are known, and later arrivals cannot change it. So
the decisions are those of ASHA run by one worker in that order, whatever the number of workers,
and a sweep that was killed, moved or resumed stops and promotes exactly the same candidates.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ScoreAt = Callable[[str, int], float | None]
"""Score of a candidate at a milestone, or None while it is not known. Smaller is better; infinite
for a failed candidate, which is never promoted."""


def milestones(*, grace: int, reduction: int, longest: int, bracket: int = 0) -> tuple[int, ...]:
    """Epochs at which a bracket decides: grace x reduction^(bracket + k), then ``longest``."""
    rungs = []
    epoch = grace * reduction**bracket
    while epoch < longest:
        rungs.append(epoch)
        epoch *= reduction
    return (*rungs, longest)


def brackets_of(count: int, *, brackets: int, reduction: int) -> list[int]:
    """Bracket of each of ``count`` candidates; a longer list begins with the shorter one.

    Bracket b starts reduction^b times later than bracket 0 and gets the share reduction^-b
    (Hyperband's proportions), so that every bracket costs about as much.
    """
    weights = [reduction**-b for b in range(brackets)]
    shares = [w / sum(weights) for w in weights]
    given = [0] * brackets
    out = []
    for index in range(count):
        behind = [shares[b] * (index + 1) - given[b] for b in range(brackets)]
        chosen = behind.index(max(behind))
        given[chosen] += 1
        out.append(chosen)
    return out


@dataclass(frozen=True)
class Rung:
    """One decision point: who takes part, in order, and whether all is known."""

    epoch: int
    names: tuple[str, ...]
    over: bool
    """No participant can join any more and all have finished it."""


def climb(
    order: Sequence[str],
    *,
    epochs: Sequence[int],
    reduction: int,
    cost: ScoreAt,
    closed: bool,
) -> list[Rung]:
    """The rungs of one bracket as far as they can be told.

    Args:
        order: candidates in their fixed order.
        epochs: milestones, ascending.
        cost: what a candidate has scored at a milestone.
        closed: no further candidate will be appended to ``order``.
    """
    rungs = []
    names, open_below = tuple(order), not closed
    for epoch in epochs:
        up, ranked = _promotions(names, reduction, cost, epoch)
        over = len(ranked) == len(names) and not open_below
        if over and not up and ranked and ranked[0][0] < math.inf:
            # Too few for the rule: the best still gets its chance at the full length.
            up = (names[ranked[0][1]],)
        rungs.append(Rung(epoch, names, over))
        names, open_below = up, not over
    return rungs


def _promotions(
    names: Sequence[str], reduction: int, cost: ScoreAt, epoch: int
) -> tuple[tuple[str, ...], list[tuple[float, int]]]:
    """Those who go up, in the order of the decisions, and (score, place) of the known, ranked."""
    ranked: list[tuple[float, int]] = []
    up: dict[str, None] = {}
    for index, name in enumerate(names):
        value = cost(name, epoch)
        if value is None:
            break
        new = (value, index)
        bisect.insort(ranked, new)
        best = (index + 1) // reduction
        if best:
            # Of the best, all but these two were among them before.
            last = ranked[best - 1]
            for score, place in (min(new, last), last):
                if score < math.inf:
                    up.setdefault(names[place])
    return tuple(up), ranked
