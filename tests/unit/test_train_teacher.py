"""A run of the text model as the source of completeness labels."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_runs
import torch
from builders import random_batch
from networks import SMALL
from safetensors.torch import load_file
from torch import nn

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import CheckpointError, UserError
from lnln_dist.evaluate.load import load_model
from lnln_dist.runs import Run
from lnln_dist.specs.registry import make_config
from lnln_dist.train.program import run
from lnln_dist.train.teacher import Teacher
from lnln_dist.types import Batch, Prediction


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, and ``text``: a finished run of the text model."""
    folder = tmp_path_factory.mktemp("teacher")
    tiny_runs.write_data(folder / "data")
    encoder = settings.to_dict(make_config(model=tiny_runs.MODEL))["model"]["encoder"]
    raw = {"model": {"name": "text", "encoder": encoder, **SMALL["text"]}}
    run(settings.build(settings.merge(raw, short(folder))), folder / "text", cpu=True)
    return folder


def short(place: Path) -> dict:
    train = {"epochs": 2, "batch_size": 4, "log_steps": 1}
    return {
        "data": {"path": str(place / "data")},
        "train": train,
        "select": {"rates": [0.5]},
        "noise": {"text": {"clean_share": 0.0}},
    }


def config(place: Path, **model: object) -> Config:
    plain = settings.to_dict(make_config(model=tiny_runs.MODEL))
    return settings.build(settings.merge(plain, {**short(place), "model": model}))


class Fixed(nn.Module):
    def predict(self, batch: Batch) -> Prediction:
        return Prediction(torch.tensor([1.0, 1.0, -2.0]), {})


def test_it_gives_the_probability_of_the_true_side_of_zero() -> None:
    batch = random_batch()._replace(label_B=torch.tensor([0.6, -0.2, 0.0]))
    found = Teacher(Fixed(), error=2.0)(batch)
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = normal.cdf(torch.tensor([0.5, -0.5, -1.0]))
    torch.testing.assert_close(found, expected)


class FixedClasses(nn.Module):
    def predict(self, batch: Batch) -> Prediction:
        return Prediction(torch.tensor([[0.7, 0.2, 0.1]]).expand(len(batch.row_B), 3), {})


def test_of_classes_it_gives_the_probability_of_the_true_one() -> None:
    batch = random_batch()._replace(row_B=torch.tensor([3, 0, 2]))
    found = Teacher(FixedClasses(), class_N=torch.tensor([2, 9, 1, 0]))(batch)
    torch.testing.assert_close(found, torch.tensor([0.7, 0.1, 0.2]))


def test_a_run_of_classes_is_a_teacher(place: Path, tmp_path: Path) -> None:
    given = settings.to_dict(Run(place / "text").config)
    given["task"]["kind"], given["select"]["metric"] = "three-class", "acc3"
    run(settings.build(given), tmp_path / "text", cpu=True)
    run(config(place, classifier=str(tmp_path / "text")), tmp_path / "run", cpu=True)
    assert all(0 < label < 1 for label in labels(tmp_path / "run"))


def labels(folder: Path) -> list[float]:
    log = [json.loads(x) for x in (folder / "log.jsonl").read_text().splitlines()]
    return [line["completeness/label"] for line in log if line["kind"] == "train"]


def test_training_learns_its_probabilities_and_goes_on_exactly(place: Path, tmp_path: Path) -> None:
    given = config(place, classifier=str(place / "text"))
    run(given, tmp_path / "whole", cpu=True)
    run(config(place), tmp_path / "nominal", cpu=True)
    assert labels(tmp_path / "whole") != labels(tmp_path / "nominal")
    run(given, tmp_path / "cut", cpu=True, on_epoch=lambda report: report.epoch == 1)
    run(given, tmp_path / "cut", cpu=True, resume=True)
    one, two = (load_file(tmp_path / n / "best" / "best.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    # Nothing of it is in the run, which predicts where the other one is not.
    assert one.keys() == load_file(tmp_path / "nominal" / "best" / "best.safetensors").keys()
    assert load_model(Run(tmp_path / "whole"))[0].teacher is None


def test_another_teacher_than_before_is_noticed(place: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(place / "text", tmp_path / "text")
    given = config(place, classifier=str(teacher))
    run(given, tmp_path / "run", cpu=True, on_epoch=lambda _: True)
    weights = teacher / "best" / "best.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"with another teacher than .*put its best"):
        run(given, tmp_path / "run", cpu=True, resume=True)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model.classifier: .*best.safetensors is not there"):
        run(given, tmp_path / "run", cpu=True, resume=True)


def test_what_is_no_teacher_is_one_line(place: Path, tmp_path: Path) -> None:
    tiny_runs.write_tiny_run(tmp_path / "lnln", place / "data")
    tiny_runs.write_data(tmp_path / "wide", audio_width=7)
    other = {"data": {"path": str(tmp_path / "wide")}}
    teacher = {"classifier": str(place / "text")}
    wrong = {
        "no such run folder": config(place, classifier=str(tmp_path / "none")),
        "is a run of model lnln: give one of model text": config(
            place, classifier=str(tmp_path / "lnln")
        ),
        "audio frames have 7 features": settings.build(
            settings.merge(settings.to_dict(config(place, **teacher)), other)
        ),
        "noise.completeness counted has no effect with model.classifier": settings.build(
            settings.merge(
                settings.to_dict(config(place, **teacher)), {"noise": {"completeness": "counted"}}
            )
        ),
    }
    for message, given in wrong.items():
        with pytest.raises(UserError, match=message) as caught:
            run(given, tmp_path / "run", cpu=True, overwrite=True)
        assert "\n" not in str(caught.value)
