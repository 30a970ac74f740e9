"""Sizes and gaps of features, against a plain loop and through the files."""

import itertools

import feature_files
import numpy as np
import pytest
from feature_files import converted
from hypothesis import given
from hypothesis import strategies as st

from lnln_dist.commands import prepare, verify
from lnln_dist.data.measure import find_gaps, measured
from lnln_dist.data.schema import Gaps, write_index
from lnln_dist.data.summary import describe

UNK = 100


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=7), min_size=1), st.integers(1, 3))
def test_gaps_are_those_of_a_plain_loop(samples, shortest):
    found = []
    for sample in samples:
        runs = [(empty, len(list(run))) for empty, run in itertools.groupby(sample)]
        found.append([n for empty, n in runs[1:-1] if empty and n >= shortest])
    empty_S = np.array([place for sample in samples for place in sample])
    lengths_N = np.array([len(sample) for sample in samples])
    assert find_gaps(empty_S, lengths_N, shortest=shortest) == Gaps(
        samples=sum(map(bool, found)), runs=sum(map(len, found)), places=sum(map(sum, found))
    )


def damaged():
    """A file with known gaps: two in the tokens, two in the audio, none in the vision."""
    content = feature_files.feature_file()
    ids = content["train"]["text_bert"][:, 0]
    ids[0, 2:4] = ids[0, 6:9] = UNK
    content["train"]["text_bert"][1, 0, 1] = UNK  # a word that is not known
    test = content["test"]
    test["audio"], test["audio_lengths"] = np.ones((7, 9, 3), np.float32), [9] * 7
    test["audio"][3, 1] = test["audio"][3, 4:7] = 0
    test["audio"][4, :2] = test["audio"][5, 7:] = 0  # at the ends
    return content


def test_gaps_are_kept_by_modality_and_split(tmp_path):
    content = damaged()
    index, dataset = converted(tmp_path, content)
    none = Gaps(samples=0, runs=0, places=0)
    assert index.gaps["text"] == {
        "train": Gaps(samples=1, runs=2, places=5),
        "valid": none,
        "test": none,
    }
    assert index.gaps["audio"]["test"] == Gaps(samples=1, runs=2, places=4)
    assert set(index.gaps["vision"].values()) == {none}
    # Counted, not touched.
    assert np.array_equal(dataset.split("test").frames("audio", 3), content["test"]["audio"][3])
    assert dataset.split("train").tokens(0)[2] == UNK


@pytest.mark.parametrize("unknown", [{}, {"gaps": None}, {"scales": None}])
def test_what_an_older_index_does_not_say_is_measured(tmp_path, unknown):
    index, dataset = converted(tmp_path, damaged(), shard_mb=0.004)
    write_index(index.model_copy(update=unknown), dataset.folder)
    assert measured(dataset.folder) == index


def test_prepare_and_verify_report_gaps(tmp_path, capsys):
    source = feature_files.write(tmp_path / "f.pkl", damaged())
    prepare.command([str(source), str(tmp_path / "out"), "--dataset", "mosi"])
    written = capsys.readouterr().out.splitlines()
    text = "natural gaps in train: text: 5 [UNK] tokens in 2 runs within 1 of 12 samples ("
    audio = "natural gaps in test: audio: 4 zero frames in 2 runs within 1 of 7 samples (6.3% of"
    assert [line[: len(m)] for line, m in zip(written[-3:], (text, audio), strict=False)] == [
        text,
        audio,
    ]
    assert verify.command([str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == written
    assert "gaps" not in describe(
        converted(tmp_path, feature_files.feature_file(), overwrite=True)[0]
    )
