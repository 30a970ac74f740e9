"""A small English grammar whose sentences have a sentiment one can compute from their words.

A sentiment word has a strength in {-3, -2, -1, 1, 2, 3}. The word right before it may scale it:
an intensifier (x 1.4), a diminisher (x 0.5) or a negation (x -0.6: "not brilliant" is mildly bad).
``sentiment`` of a sentence is the mean over its sentiment words; all other words are neutral.

An utterance is a chain of short clauses ("the plot felt really dull"), each with one or two
sentiment words near the wanted sentiment, so every few words tell a part of it again: losing words
blurs the sentiment gradually.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ADJECTIVES: dict[int, tuple[str, ...]] = {
    3: ("brilliant", "wonderful", "superb", "fantastic", "amazing", "excellent"),
    2: ("great", "good", "charming", "impressive", "lovely", "delightful"),
    1: ("decent", "nice", "pleasant", "solid", "watchable", "fine"),
    -1: ("weak", "flat", "dull", "slow", "bland", "uneven"),
    -2: ("bad", "poor", "boring", "annoying", "messy", "disappointing"),
    -3: ("terrible", "awful", "horrible", "dreadful", "disgusting", "atrocious"),
}
VERBS: dict[int, tuple[str, ...]] = {
    3: ("loved", "adored"),
    2: ("enjoyed", "admired"),
    1: ("liked", "appreciated"),
    -1: ("doubted", "questioned"),
    -2: ("disliked", "regretted"),
    -3: ("hated", "despised"),
}
FACTORS: dict[str, float] = {
    **dict.fromkeys(("very", "really", "truly", "extremely"), 1.4),
    **dict.fromkeys(("slightly", "somewhat"), 0.5),
    **dict.fromkeys(("not", "never", "hardly"), -0.6),
}
STRENGTH: dict[str, int] = {
    word: strength
    for table in (ADJECTIVES, VERBS)
    for strength, words in table.items()
    for word in words
}

_ASPECTS = (
    *("acting", "plot", "story", "script", "music", "soundtrack", "cast", "ending", "dialogue"),
    *("pacing", "humor", "scenery", "photography", "direction", "movie", "film"),
)
_COPULAS = ("was", "felt", "seemed", "looked")
_OPENERS = (
    *("honestly", "well", "overall", "to me", "in the end", "for a start", "as i said"),
    *("i saw it last week", "we watched it on friday", "it runs for two hours"),
)
_CONJUNCTIONS = ("and", "also", "while")
# How often a sentiment word is plain, intensified, diminished or negated, before the target counts
# (a mild sentiment can be reached by diminishing or negating a strong word, so those gain).
_PLAIN = 0.72
_MODIFIED = {1.4: 0.2, 0.5: 0.05, -0.6: 0.03}
# Which words may stand before adjectives and before verbs.
_BEFORE_ADJECTIVE = frozenset(FACTORS) - {"never"}
_BEFORE_VERB = frozenset({"really", "truly", "slightly", "somewhat", "never", "hardly"})
_SPREAD = 0.5  # how far clauses of one utterance scatter around its sentiment, in strengths
_WIDTH = 0.35  # how strictly a phrase is chosen by its value, in strengths
LONGEST_CLAUSE = 9  # words, its conjunction included


class Phrase(NamedTuple):
    """A sentiment word with what stands before it."""

    words: tuple[str, ...]
    value: float


class _Choices(NamedTuple):
    """All phrases of one kind, with what is needed to pick one near a value."""

    phrases: tuple[Phrase, ...]
    values: NDArray[np.float64]
    priors: NDArray[np.float64]


def _choices(table: dict[int, tuple[str, ...]], before: frozenset[str]) -> _Choices:
    phrases, priors = [], []
    ways: list[tuple[list[str], float, float]] = [([], 1.0, _PLAIN)]
    for factor, share in _MODIFIED.items():
        fitting = [word for word in FACTORS if FACTORS[word] == factor and word in before]
        ways += [([word], factor, share / len(fitting)) for word in fitting]
    for strength, words in table.items():
        for word in words:
            for modifier, factor, share in ways:
                phrases.append(Phrase((*modifier, word), factor * strength))
                priors.append(share / len(words))
    return _Choices(tuple(phrases), np.array([p.value for p in phrases]), np.array(priors))


_ADJECTIVE_CHOICES = _choices(ADJECTIVES, _BEFORE_ADJECTIVE)
_VERB_CHOICES = _choices(VERBS, _BEFORE_VERB)


def sentiment(words: Sequence[str]) -> float:
    """Mean over the sentiment words of strength times the factor of the word before.

    Args:
        words: a sentence, one lower-case word an entry.

    Returns:
        A number in [-4.2, 4.2]; 0 without a sentiment word.
    """
    values = [
        STRENGTH[word] * FACTORS.get(before, 1.0)
        for before, word in pairwise(("", *words))
        if word in STRENGTH
    ]
    return float(np.mean(values)) if values else 0.0


def utterance(rng: np.random.Generator, *, target: float, words: int) -> list[str]:
    """A sentence of about the wanted sentiment and length.

    Args:
        rng: source of every choice.
        target: wanted ``sentiment``; reached up to the scatter of the clauses.
        words: most words, at least ``LONGEST_CLAUSE``.

    Returns:
        The words; at least one of them is a sentiment word.
    """
    if words < LONGEST_CLAUSE:
        raise ValueError(f"an utterance needs room for {LONGEST_CLAUSE} words, got {words}")
    out: list[str] = []
    opener = _pick(rng, _OPENERS).split()
    if rng.random() < 0.5 and len(opener) + LONGEST_CLAUSE <= words:
        out += opener
    previous: float | None = None
    while previous is None or len(out) + LONGEST_CLAUSE <= words:
        clause = _clause(rng, target + _SPREAD * rng.standard_normal())
        value = sentiment(clause)
        if previous is not None:
            out.append("but" if previous * value < 0 else _pick(rng, _CONJUNCTIONS))
        out += clause
        previous = value
    return out


def vocabulary() -> frozenset[str]:
    """Every word that ``utterance`` can use."""
    rest = ("the", "its", "i", "we", "but", *_CONJUNCTIONS, "found", "called", "everyone")
    openers = [word for opener in _OPENERS for word in opener.split()]
    return frozenset((*STRENGTH, *FACTORS, *_ASPECTS, *_COPULAS, *openers, *rest))


def _clause(rng: np.random.Generator, target: float) -> list[str]:
    """At most eight words with one or two phrases near the target."""
    kind = rng.integers(4)
    aspect = _pick(rng, _ASPECTS)
    if kind == 0:
        who = _pick(rng, ("i", "we"))
        return [who, *_phrase(rng, _VERB_CHOICES, target), "the", aspect]
    adjective = _phrase(rng, _ADJECTIVE_CHOICES, target)
    if kind == 1:
        lead = _pick(rng, ("i found the", "we found the", "everyone called the"))
        return [*lead.split(), aspect, *adjective]
    start = [_pick(rng, ("the", "its")), aspect, _pick(rng, _COPULAS), *adjective]
    if kind == 2:
        return start
    return [*start, "and", *_phrase(rng, _ADJECTIVE_CHOICES, target)]


def _phrase(rng: np.random.Generator, choices: _Choices, target: float) -> tuple[str, ...]:
    """A phrase, the likelier the nearer its value is to the target."""
    weight = choices.priors * np.exp(-0.5 * ((choices.values - target) / _WIDTH) ** 2)
    # A target beyond the strongest phrase gets the strongest one.
    if not weight.sum() > 0:
        return choices.phrases[int(np.abs(choices.values - target).argmin())].words
    total = weight.cumsum()
    place = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    return choices.phrases[min(place, len(choices.phrases) - 1)].words


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
