"""Texts and masks of evaluated samples."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny_runs

from lnln_dist.config import MODALITIES
from lnln_dist.data.shards import open_dataset
from lnln_dist.evaluate.contents import open_contents
from lnln_dist.evaluate.protocol import grid, noises_for
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.report.conditions import Condition
from lnln_dist.report.read import RunScores, read
from lnln_dist.report.samples import Contents
from lnln_dist.runtime import Runtime

CONDITIONS = [
    Condition("random", 0.0),
    Condition("random", 0.6),
    Condition("missing:audio+vision", 1.0),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepared"
    tiny_runs.write_data(folder)
    return folder


@pytest.fixture(scope="module", params=["paper", "official"])
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("runs")
    run = tiny_runs.write_tiny_run(folder / "run", data)
    choices = {"rates": [0.0, 0.6], "missing": [("audio", "vision")], "protocol": request.param}
    evaluate_runs([run], output=folder / "out", runtime=Runtime(cpu=True), **choices)
    return read([folder / "out"])[0]


def test_masks_are_those_of_the_evaluation(run: RunScores, data: Path) -> None:
    contents = open_contents(run, CONDITIONS)
    assert isinstance(contents, Contents)
    split = open_dataset(data).split("test")
    generator = run.summary["protocol_definition"]["generator"]
    seed = run.summary["noise_seeds"][0]
    padded = open_dataset(data).index.padded_lengths
    (noise,) = noises_for(grid([0.6], [seed]), generator, split, padded)
    rows = np.arange(len(split))
    # As a whole batch, padded: what the network saw.
    whole = noise.draw(rows, 0, split.lengths, padded)
    erased = 0
    for row, name in enumerate(split.ids):
        keep = contents.sample(name).keep_CT
        for m in MODALITIES:
            length = split.lengths[m][row]
            assert keep[m][0].all()
            assert keep[m][1].tolist() == whole[m].keep_BT[row, :length].tolist()
            assert keep[m][2].any() == (m == "text")
            erased += int((~keep[m][1]).sum())
    assert erased > 20
    assert contents.lengths == dict(zip(split.ids, split.lengths["text"].tolist(), strict=True))


def test_pieces_spell_the_text_and_know_their_tokens(run: RunScores, data: Path) -> None:
    contents = open_contents(run, CONDITIONS)
    assert isinstance(contents, Contents)
    assert contents.marked
    split = open_dataset(data).split("test")
    for row, name in enumerate(split.ids):
        found = contents.sample(name).pieces
        assert "".join(text for text, _ in found) == split.raw_text(row)
        places = [place for _, place in found if place >= 0]
        assert places == list(range(1, len(split.tokens(row)) - 1))


def test_why_the_data_cannot_be_seen_is_said(run: RunScores, tmp_path: Path) -> None:
    gone = dataclasses.replace(run, record=run.record | {"data": str(tmp_path / "gone")})
    assert "cannot be opened" in open_contents(gone, CONDITIONS)
    tiny_runs.write_data(tmp_path / "other", seed=5)
    other = dataclasses.replace(run, record=run.record | {"data": str(tmp_path / "other")})
    assert "other data than was evaluated" in open_contents(other, CONDITIONS)


def test_the_masks_of_a_rate_of_many_digits_are_found(data: Path, tmp_path: Path) -> None:
    made = tiny_runs.write_tiny_run(tmp_path / "run", data)
    evaluate_runs([made], output=tmp_path / "out", runtime=Runtime(cpu=True), rates=[1 / 3])
    run = read([tmp_path / "out"])[0]
    told = float(run.metrics["rate"].iloc[0])
    assert isinstance(open_contents(run, [Condition("random", told)]), Contents)
