"""Figures, sentences and features that a training run shows in TensorBoard."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_runs
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lnln_dist.data.convert import prepare
from lnln_dist.data.shards import ShardedDataset, open_dataset
from lnln_dist.evaluate.load import load_model
from lnln_dist.monitor.writer import Writer
from lnln_dist.runs import Run
from lnln_dist.runtime import Runtime
from lnln_dist.train import pictures
from lnln_dist.train.pictures import Pictures
from lnln_dist.train.task import Task
from lnln_dist.train.validate import GridScores, validate


class Case:
    """A tiny run whose network has been validated under watch."""

    def __init__(self, folder: Path, data: Path, log: Path) -> None:
        found: Any = load_model(Run(folder))
        model = found[0] if isinstance(found, tuple) else found
        self.task, self.config = Task(model), Run(folder).config
        self.dataset: ShardedDataset = open_dataset(data)
        self.split, self.log = self.dataset.split("valid"), log
        log.mkdir()
        self.writer = Writer(log)
        tokenizer = [self.dataset.tokenizer_folder]
        made = (self.writer, self.config, self.split, self.dataset.index, tokenizer)
        self.pictures = Pictures(*made)

    def validate(self) -> GridScores:
        runtime = Runtime(cpu=True)
        with self.pictures.watching(self.task):
            scores = validate(self.task, self.dataset, self.config, runtime, leaving=lambda: False)
        assert scores is not None
        return scores

    def close(self) -> None:
        self.writer.close()

    def events(self) -> EventAccumulator:
        self.close()
        return EventAccumulator(str(self.log / "events")).Reload()


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    with contextlib.closing(Case(run, tmp_path / "data", tmp_path / "log")) as case:
        yield case


def test_figures_sentences_and_features_are_there(case: Case) -> None:
    scores = case.validate()
    case.pictures.draw(5, scores, last=True)
    events = case.events()
    tags = {"valid/curve", "valid/confusion_r0.4", "valid/completeness"}
    assert set(events.Tags()["images"]) == tags
    assert "valid/sentences/text_summary" in events.Tags()["tensors"]
    folder = case.log / "events"
    about = (folder / "00005" / "fused" / "metadata.tsv").read_text().splitlines()
    assert about[0] == "id\tlabel\tprediction"
    assert [line.split("\t")[0] for line in about[1:]] == case.split.ids
    shown = np.array([float(line.split("\t")[2]) for line in about[1:]])
    clean = scores.predictions.reshape(5, 1, -1)[0, 0]
    np.testing.assert_allclose(shown, clean, atol=0.006)
    # What the head makes of the features is what was predicted.
    features = np.loadtxt(folder / "00005" / "fused" / "tensors.tsv", ndmin=2)
    head: Any = case.task.model.sentiment
    with torch.no_grad():
        np.testing.assert_allclose(
            head(torch.tensor(features).float()).flatten().numpy(), clean, atol=1e-4
        )


def test_watching_ends_and_changes_nothing(case: Case) -> None:
    plain = validate(case.task, case.dataset, case.config, Runtime(cpu=True), leaving=lambda: False)
    watched = case.validate()
    assert plain is not None
    assert np.array_equal(plain.predictions, watched.predictions)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in case.task.modules())


def test_a_network_without_such_a_head_has_no_features(case: Case) -> None:
    case.task.model.last = case.task.model.sentiment
    case.task.model.sentiment = torch.nn.Sequential(case.task.model.sentiment)
    case.pictures.draw(5, case.validate(), last=True)
    assert "valid/curve" in case.events().Tags()["images"]
    assert not list((case.log / "events").glob("0*"))


def test_figures_take_their_share_of_the_time(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pictures.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(
        Pictures, "_figures", lambda self, step, scores: (drawn.append(step), _tick(now, 1.0))
    )
    monkeypatch.setattr(Pictures, "_sentences", lambda self, scores: "")
    drawn: list[int] = []
    case.pictures._begin = 100.0
    scores: Any = None
    for step in range(1, 201):
        now[0] += 10
        case.pictures.draw(step, scores, last=step == 200)
    assert drawn[0] == 1
    assert drawn[-1] == 200
    assert len(drawn) == pytest.approx(0.02 * 200 * 10, abs=2)
    # No more than the share, but for the first and the last.
    assert sum(step <= 100 for step in drawn) <= 0.02 * 1000 + 1


def _tick(now: list[float], seconds: float) -> None:
    now[0] += seconds


def test_texts_stay_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["<img/src=http://x.example/a>", "![a](http://x.example/b)", "|", "`good`", "<script>"]
    monkeypatch.setattr(tiny_runs, "WORDS", words)
    source = tiny_runs.write_pickle(tmp_path / "f.pkl")
    prepare(source, tmp_path / "data", dataset="mosi", tokenizer="corpus")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    with contextlib.closing(Case(run, tmp_path / "data", tmp_path / "log")) as case:
        text = case.pictures._sentences(case.validate())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what TensorBoard brings along
        from tensorboard.plugin_util import markdown_to_safe_html

        safe = markdown_to_safe_html(text)
    assert not re.search(r"<(img|a|script|p)\b", safe)
    lines = re.findall(r"<tr>(.*?)</tr>", safe)
    assert len(lines) == 1 + 5 * len(case.config.select.rates)  # five samples
    first = re.sub(r"<[^>]+>", "", lines[1].rpartition("<td>")[2])
    lowest = int(np.argmin(case.split.labels))
    assert first == case.split.raw_text(lowest).replace("&", "&amp;").replace("<", "&lt;").replace(
        ">", "&gt;"
    )
    erased = [line.count("<code>") for line in lines[1:]]
    assert erased[0] == 0
    assert sum(erased) > 5


def test_a_resumed_run_keeps_one_set_of_features(case: Case) -> None:
    scores = case.validate()
    case.pictures.draw(5, scores, last=True)
    case.pictures.draw(7, scores, last=True)
    assert [p.parent.name for p in (case.log / "events").glob("0*/fused")] == ["00007"]
