"""Hash of a vocabulary."""

from lnln_dist.vocabulary import vocabulary_sha256


def test_the_hash_ignores_the_order_and_sees_every_change() -> None:
    words = {"[PAD]": 0, "gut": 1, "schlecht": 2}
    assert vocabulary_sha256(words) == vocabulary_sha256(dict(reversed(words.items())))
    variants = [words, words | {"neu": 3}, words | {"gut": 2, "schlecht": 1}, {"[PAD]": 0}, {}]
    assert len({vocabulary_sha256(variant) for variant in variants}) == len(variants)
    assert len(vocabulary_sha256({"\udce4": 0, "\u597d": 1})) == 64
