"""The verb: table, JSON, exit codes."""

import json
from pathlib import Path

import pytest
import tiny_runs
import yaml

from lnln_dist import cli
from lnln_dist.doctor.__main__ import command
from lnln_dist.errors import ConfigError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "data"
    tiny_runs.write_data(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"model": {"encoder": {"name": "tiny"}}}))
    return str(path)


def test_a_sound_job(
    data: Path, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--shared", str(tmp_path), "--output", str(tmp_path / "run")]
    assert command(["--config", config, "--data", str(data), *shared, "--gpus", "4"]) == 0
    out = capsys.readouterr().out
    assert "0 fail" in out.splitlines()[-1]
    assert "memory, zero3" in out
    assert "every rank's files are seen" in out


def test_json_and_the_exit_code_of_a_failure(
    data: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command(["--config", config, f"--data={data}", "--card", "0.001", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (code, report["ok"]) == (1, False)
    (failed,) = [f for f in report["findings"] if f["level"] == "fail"]
    assert failed["check"] == "memory, ddp"
    assert "auto_micro_batch" in failed["remedy"]


def test_a_broken_config_does_not_stop_the_other_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("train: {epoch: 3}")
    assert command(["--config", str(tmp_path / "c.yaml"), "--json"]) == 1
    levels = {f["check"]: f["level"] for f in json.loads(capsys.readouterr().out)["findings"]}
    assert levels["config"] == "fail"
    assert "encoder" not in levels
    assert {"python", "gloo", "disk", "port"} <= levels.keys()


def test_without_settings_no_encoder_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--json"]) == 0
    by_check = {f["check"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert by_check["config"]["level"] == "warn"
    assert "--config FILE" in by_check["config"]["remedy"]
    assert "encoder" not in by_check
    command(["--model.encoder.name", "tiny", "--json"])
    assert "tiny" in capsys.readouterr().out


def test_a_strategy_that_needs_a_missing_package(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lnln_dist.doctor import software

    find = software.importlib.util.find_spec
    monkeypatch.setattr(
        software.importlib.util, "find_spec", lambda n: None if n == "deepspeed" else find(n)
    )
    assert command(["--config", config, "--train.strategy", "zero2"]) == 1
    assert "fail  deepspeed" in capsys.readouterr().out


def test_misspelt_options_are_errors_of_their_own() -> None:
    with pytest.raises(ConfigError, match="unrecognized"):
        command(["--shard", "x"])


def test_it_is_a_verb() -> None:
    assert cli.VERBS["doctor"].module == "lnln_dist.doctor.__main__"
