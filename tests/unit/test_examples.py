"""The examples run as they are."""

import runpy
import sys
from pathlib import Path

import pytest
import tiny_runs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_use_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_runs.write_data(tmp_path / "data")
    run = tiny_runs.write_tiny_run(tmp_path / "run", tmp_path / "data")
    monkeypatch.setattr(sys, "argv", ["use_a_model.py", str(run)])
    runpy.run_path(str(EXAMPLES / "use_a_model.py"))
    said = capsys.readouterr().out
    assert "audio [frames up to 9, 3]" in said
    assert said.count("prediction") == 3
    assert "great" in said
    assert "audio 2.0 to 2.5 s" in said
