"""Sentences say what they were asked to say, and lose it word by word."""

from itertools import pairwise

import numpy as np
import pytest

from lnln_dist.data.grammar import (
    ADJECTIVES,
    FACTORS,
    LONGEST_CLAUSE,
    STRENGTH,
    VERBS,
    sentiment,
    utterance,
    vocabulary,
)


def utterances(count: int, *, words: int, target: float | None = None) -> list[list[str]]:
    rng = np.random.default_rng(0)
    targets = np.full(count, target) if target is not None else rng.uniform(-3, 3, count)
    return [utterance(rng, target=t, words=words) for t in targets]


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("the plot was brilliant", 3.0),
        ("the plot was very good", 2.8),
        ("the plot was not brilliant", -1.8),
        ("we hardly regretted the film", 1.2),
        ("its music seemed slightly bad", -1.0),
        ("the cast was good and the ending was terrible", -0.5),
        ("not the plot was good", 2.0),
        ("we watched it on friday", 0.0),
        ("", 0.0),
    ],
)
def test_sentiment_by_hand(sentence: str, value: float) -> None:
    assert sentiment(sentence.split()) == pytest.approx(value)


def test_every_word_has_one_meaning() -> None:
    listed = [w for table in (ADJECTIVES, VERBS) for words in table.values() for w in words]
    assert len(listed) == len(set(listed)) == len(STRENGTH)
    assert not STRENGTH.keys() & FACTORS.keys()
    for table in (ADJECTIVES, VERBS):
        assert sorted(table) == [-3, -2, -1, 1, 2, 3]
        assert len({len(words) for words in table.values()}) == 1


def test_the_whole_vocabulary_is_used_and_no_more() -> None:
    used = {word for words in utterances(4000, words=30) for word in words}
    assert used == vocabulary()
    assert all(word.isascii() and word.isalpha() and word.islower() for word in used)


@pytest.mark.parametrize("words", [LONGEST_CLAUSE, 14, 22, 48])
def test_length_and_content(words: int) -> None:
    made = utterances(500, words=words)
    assert max(map(len, made)) <= words
    # No clause more would have been sure to fit.
    assert min(map(len, made)) >= max(words - LONGEST_CLAUSE + 1, 1)
    assert all(any(word in STRENGTH for word in sentence) for sentence in made)


def test_too_little_room() -> None:
    with pytest.raises(ValueError, match="needs room for 9 words, got 8"):
        utterance(np.random.default_rng(0), target=0.0, words=LONGEST_CLAUSE - 1)


@pytest.mark.parametrize("target", [-3.0, -1.5, 0.0, 1.5, 3.0])
def test_the_wanted_sentiment_is_met_on_average(target: float) -> None:
    values = [sentiment(words) for words in utterances(600, words=22, target=target)]
    assert np.mean(values) == pytest.approx(target, abs=0.2)
    assert np.std(values) < 0.75


@pytest.mark.parametrize("target", [-80.0, 80.0])
def test_a_target_out_of_reach_gets_the_strongest_words(target: float) -> None:
    for words in utterances(20, words=22, target=target):
        assert sentiment(words) == pytest.approx(np.sign(target) * 4.2)


def test_modifiers_stand_before_sentiment_words_only() -> None:
    made = utterances(2000, words=30)
    pairs = [pair for words in made for pair in pairwise((*words, "."))]
    assert all(word in STRENGTH for before, word in pairs if before in FACTORS)
    modified = [FACTORS.get(before, 1.0) for before, word in pairs if word in STRENGTH]
    for factor in set(FACTORS.values()):
        assert 0.03 < modified.count(factor) / len(modified) < 0.3


def test_contrast_is_told_by_but() -> None:
    rng = np.random.default_rng(0)
    mixed = [utterance(rng, target=0.0, words=30) for _ in range(300)]
    clear = [utterance(rng, target=3.0, words=30) for _ in range(300)]
    assert np.mean(["but" in words for words in mixed]) > 0.8
    assert np.mean(["but" in words for words in clear]) < 0.05


def test_losing_words_blurs_the_sentiment_gradually() -> None:
    rng = np.random.default_rng(1)
    made = utterances(1500, words=22)
    whole = np.array([sentiment(words) for words in made])
    left = []
    for rate in (0.0, 0.2, 0.4, 0.6, 0.8):
        kept = [[w for w in words if rng.random() >= rate] for words in made]
        left.append(np.corrcoef(whole, [sentiment(words) for words in kept])[0, 1])
    assert left[0] == pytest.approx(1)
    steps = -np.diff(left)
    assert np.all(steps > 0.01)
    assert np.all(steps < 0.35)
    assert left[2] > 0.75
    assert left[4] > 0.25


def test_the_same_numbers_make_the_same_sentence() -> None:
    first, second = utterances(50, words=22), utterances(50, words=22)
    assert first == second
    assert len({tuple(words) for words in first}) == 50
