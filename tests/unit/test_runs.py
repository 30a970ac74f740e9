"""Run folders: written, read back, refused when they are not what they should be."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lnln_dist import runs
from lnln_dist.errors import CheckpointError, ConfigError
from lnln_dist.models.shapes import InputShapes
from lnln_dist.runs import Run, RunInfo, git_commit, installed_versions, save_best, write_run
from lnln_dist.specs.registry import make_config


def info(**changes: Any) -> RunInfo:
    shapes = InputShapes(
        audio_width=5, vision_width=20, text_length=50, audio_length=375, vision_length=500
    )
    values: dict[str, Any] = {
        "dataset": "mosi",
        "family": "mosi",
        "label_range": (-3.0, 3.0),
        "config_hash": "abc",
        "data_hash": "def",
        "vocab_sha256": None,
        "shapes": shapes,
        "parameters": 3,
        "versions": installed_versions(),
        "git_commit": git_commit(),
    }
    return RunInfo(**(values | changes))


def test_a_run_reads_back_as_written(tmp_path: Path) -> None:
    write_run(tmp_path, make_config(), info())
    run = Run(tmp_path)
    assert run.info == info()
    assert run.config == make_config()
    assert run.info.versions["torch"] == torch.__version__.split("+")[0] or run.info.versions


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize(
    ("start", "module"),
    [
        ("", "evil_run.payload"),
        ("", "place.runs.deep_run.payload"),
        ("evil_run", "payload"),
        ("evil_run/sub", "payload"),
    ],
)
def test_code_that_a_folder_carries_is_not_run(
    exported: bool, start: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("place/runs/deep_run" if "deep" in module else "evil_run")
    (folder / "sub").mkdir(parents=True)
    write_run(folder, make_config(), info())
    settings = {"model": {"name": f"{module}:SPEC"}}
    if exported:
        content = {"run": json.loads(info().model_dump_json()), "settings": settings}
        (folder / "config.json").write_text(json.dumps(content))
        (folder / "run.json").unlink()
    else:
        (folder / "config.yaml").write_text(json.dumps(settings))
    (folder / "payload.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path / start)
    with pytest.raises(ConfigError, match=r"whose code would be run|which names it: not run"):
        Run(folder)
    assert not (tmp_path / "ran").exists()


def test_a_module_beside_a_run_folder_of_its_name_is_a_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "beside_model", make_config(), info())
    (tmp_path / "beside_model" / "config.yaml").write_text("model: {name: 'beside_model:SPEC'}")
    (tmp_path / "beside_model.py").write_text("from lnln_dist.specs.text import SPEC")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert Run(tmp_path / "beside_model").config.model.name == "beside_model:SPEC"


def test_best_checkpoints_carry_their_note(tmp_path: Path) -> None:
    write_run(tmp_path, make_config(), info())
    for name in ("mae", "best", "acc2_non0"):
        save_best(tmp_path, {"w": torch.tensor([1.5])}, {"epoch": 3, "score": 0.5}, name=name)
    run = Run(tmp_path)
    assert run.best_names() == ["best", "acc2_non0", "mae"]
    state, note = run.load_best()
    assert state["w"].item() == 1.5
    assert note == {"epoch": 3, "score": 0.5}


def test_a_missing_checkpoint_names_those_there_are(tmp_path: Path) -> None:
    write_run(tmp_path, make_config(), info())
    save_best(tmp_path, {"w": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="kept here: best"):
        Run(tmp_path).load_best("mae")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, make_config(), info())
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "best.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"best\.safetensors: damaged"):
        Run(tmp_path).load_best()


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run folder"):
        Run(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"not a run folder \(no run.json\)"):
        Run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 2}')
    with pytest.raises(CheckpointError, match=r"run\.json: format"):
        Run(tmp_path)
    (tmp_path / "run.json").write_text("")
    with pytest.raises(CheckpointError, match=r"run\.json: the file is damaged"):
        Run(tmp_path)


def test_the_source_hash_tells_another_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs.source_hash() == runs.source_hash()
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "runs.py"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text("x = 1\n")
    first = runs.source_hash()
    (tmp_path / "a" / "b.pyc").write_text("not a source")
    assert runs.source_hash() == first
    (tmp_path / "a" / "b.py").write_text("x = 2\n")
    assert runs.source_hash() != first
