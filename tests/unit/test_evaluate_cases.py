"""Runs and the data they are scored on."""

import dataclasses
from pathlib import Path

import pytest
import tiny_runs
from torch import nn

from lnln_dist.data.noise import CleanNoise
from lnln_dist.errors import CheckpointError, DataError, UserError
from lnln_dist.evaluate.cases import open_cases, predict_case, run_names
from lnln_dist.metrics import ALL
from lnln_dist.runtime import Runtime
from lnln_dist.types import Batch, Prediction


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepared"
    tiny_runs.write_data(folder)
    return folder


def test_names_are_as_short_as_they_can_be() -> None:
    assert run_names([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
    assert run_names([Path("x/a/run"), Path("y/b/run")]) == ["a/run", "b/run"]
    assert run_names([Path("x/a/run"), Path("x/b/run"), Path("y/a/run")])[0] == "x/a/run"


def test_a_run_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="given twice"):
        run_names([Path("runs/a"), Path("runs/../runs/a")])


def test_a_name_needs_no_more_parts_than_the_path_has() -> None:
    assert run_names([Path("/a"), Path("/b/a")]) == ["/a", "b/a"]


def test_a_case_holds_the_runs_own_data(tmp_path: Path, data: Path) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, seed=4)
    (case,) = open_cases([run], data=None, split="valid", checkpoint="best")
    assert case.data == str(data)
    assert case.split.name == "valid"
    assert len(case.split) == tiny_runs.SIZES["valid"]
    assert case.train_seed == 4
    assert case.checkpoints == {"best": ALL["mosi"]}
    assert case.padded_lengths == case.index.padded_lengths


def test_padding_stays_within_the_models_tables(tmp_path: Path, data: Path) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data)
    (case,) = open_cases([run], data=None, split="test", checkpoint="best")
    index = case.index.model_copy(update={"padded_lengths": {"text": 3, "audio": 99, "vision": 6}})
    shapes = case.run.info.shapes
    padded = dataclasses.replace(case, index=index).padded_lengths
    assert padded == {"text": 3, "audio": shapes.audio_length, "vision": 6}


def test_groups_ignore_the_seed_alone(tmp_path: Path, data: Path) -> None:
    runs = [
        tiny_runs.write_tiny_run(tmp_path / "a", data, seed=1),
        tiny_runs.write_tiny_run(tmp_path / "b", data, seed=2),
        tiny_runs.write_tiny_run(tmp_path / "c", data, seed=1, data_hash="0" * 64),
        tiny_runs.write_tiny_run(tmp_path / "d", data, origin="imported", data_hash=None),
    ]
    groups = [c.group for c in open_cases(runs, data=None, split="test", checkpoint="best")]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3
    assert groups[3] == "d"


def test_another_code_or_teacher_is_another_group(tmp_path: Path, data: Path) -> None:
    ways = [
        {},
        {"model_sha256": "a" * 64},
        {"model_sha256": "b" * 64},
        {"teacher_sha256": "a" * 64},
        {"teacher_sha256": "b" * 64},
    ]
    runs = [
        tiny_runs.write_tiny_run(tmp_path / str(i), data, seed=i, **info)
        for i, info in enumerate([*ways, ways[1]])
    ]
    groups = [c.group for c in open_cases(runs, data=None, split="test", checkpoint="best")]
    assert len(set(groups)) == len(ways)
    assert groups[1] == groups[-1]


def test_an_imported_run_needs_data_and_has_no_seed(tmp_path: Path, data: Path) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, origin="imported", data_hash=None)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(f"path: {data}", "path: ''"))
    with pytest.raises(DataError, match="names no data: give prepared data with --data"):
        open_cases([run], data=None, split="test", checkpoint="best")
    (case,) = open_cases([run], data=str(data), split="test", checkpoint="best")
    assert case.train_seed is None


def test_per_metric_needs_a_checkpoint_for_each(tmp_path: Path, data: Path) -> None:
    run = tiny_runs.write_tiny_run(tmp_path / "a", data, names=("best", "mae"))
    with pytest.raises(CheckpointError, match=r"no checkpoint for acc7, .*select\.per_metric"):
        open_cases([run], data=None, split="test", checkpoint="per-metric")


def test_what_a_network_tells_may_not_be_called_as_a_column(tmp_path: Path, data: Path) -> None:
    class Confused(nn.Module):
        def predict(self, batch: Batch) -> Prediction:
            return Prediction(batch.label_B, {"label": batch.label_B, "fine": batch.label_B})

    (case,) = open_cases(
        [tiny_runs.write_tiny_run(tmp_path / "a", data)],
        data=None,
        split="test",
        checkpoint="best",
    )
    with pytest.raises(UserError, match=r"^lnln: what the network calls label has the name of a"):
        predict_case(case, Confused(), [CleanNoise()], runtime=Runtime(cpu=True), batch_size=4)
