"""Texts cut into the pieces of their tokens."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from memory_split import MemorySplit

from lnln_dist.data.noise import CleanNoise, EvaluationNoise
from lnln_dist.evaluate.erased import pieces, read_places, tokenizer_in


class _Words:
    """A tokenizer of words between [CLS] and [SEP]; ids are the words' lengths."""

    def encode(self, text: str):
        spans, at = [(0, 0)], 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        spans.append((0, 0))

        ids = [100, *(b - a for a, b in spans[1:-1]), 101]
        return SimpleNamespace(ids=ids, offsets=spans)

    def id_to_token(self, number: int) -> str:
        return {1: "##x"}.get(number, f"w{number}")


def test_a_cut_sentence_keeps_its_end_unmarked() -> None:
    found = pieces("ab  cde f", [100, 2, 101], _Words())
    assert found == [("ab", 1), ("  cde f", -1)]


def test_tokens_of_another_text_are_shown_as_they_are() -> None:
    assert pieces("ab cde", [100, 7, 1, 101], _Words()) == [(" w7", 1), ("x", 2)]
    assert pieces("ab cde", [100, 2, 3, 101], None) == [("ab cde", -1)]


def test_a_tokenizer_is_looked_for_in_turn(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\ngood\n")
    assert tokenizer_in([None, tmp_path / "gone", tmp_path / "empty"]) is None
    found = tokenizer_in([tmp_path / "empty", tmp_path / "own"])
    assert found.encode("good").ids == [2, 4, 3]


def test_places_that_were_never_there_do_not_survive() -> None:
    split = MemorySplit()
    rates = dict.fromkeys(("text", "audio", "vision"), 0.3)
    noises = [CleanNoise(), EvaluationNoise(rates=rates, seed=1, ids=split.ids)]
    whole = read_places(split, 3, noises)
    split.gaps["vision"] = [np.arange(n) % 2 == 0 for n in split.lengths["vision"]]
    found = read_places(split, 3, noises)
    np.testing.assert_array_equal(found["vision"], whole["vision"] & ~split.gaps["vision"][3])
    np.testing.assert_array_equal(found["text"], whole["text"])
