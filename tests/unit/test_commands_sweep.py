"""The verb sweep."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sweep_standin import SWEEP, drive, make_study

from lnln_dist.commands.sweep import command
from lnln_dist.errors import ConfigError, TrainingError
from lnln_dist.sweep import study
from lnln_dist.sweep.session import Outcome


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(SWEEP))
    return str(path)


def test_dry_run_with_an_override(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--config", config, "--dry-run", "--set", "seeds=[1, 2]", "--seconds-per-epoch", "2"]
    assert command(given) == 0
    assert "8 settings x 2 seeds" in capsys.readouterr().out


def test_resolve_prints_a_sweep_that_stands_alone(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "base.yaml").write_text("train: {epochs: 4}\ndata: {path: some/data}")
    assert command(["--config", config, "--set", "config=base.yaml", "--resolve"]) == 0
    (tmp_path / "alone.yaml").write_text(capsys.readouterr().out)
    alone = study.read(tmp_path / "alone.yaml")
    assert alone.config == ()
    assert Path(alone.settings["data"]["path"]).is_absolute()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--config is missing"),
        (["--config", "CONFIG"], "--output is missing"),
        (["--config", "CONFIG", "--set", "sceen.seeds=1", "--dry-run"], "did you mean screen"),
        (["--confg", "x"], "did you mean --config"),
        (
            ["--config", "CONFIG", "--output", "x", "--seconds-per-epoch", "2"],
            "--seconds-per-epoch has a meaning with --dry-run only",
        ),
        (
            ["--config", "CONFIG", "--output", "x", "--cpus", "2", "--address", "auto"],
            "--cpus is for a cluster of this machine, but --address names one",
        ),
        (["--config", "CONFIG", "--dry-run", "--resolve"], "give one of them"),
        (["--config", "CONFIG", "--cpus", "0"], "--cpus 0 must be greater than 0"),
        (
            ["--config", "CONFIG", "--dry-run", "--seconds-per-epoch", "-1"],
            "--seconds-per-epoch -1 must be greater",
        ),
        (["--config", "/nowhere.yaml", "--dry-run"], "no such config file"),
    ],
)
def test_mistakes(config: str, argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        command([config if a == "CONFIG" else a for a in argv])


def test_cores_of_a_cluster_that_the_environment_names(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ConfigError, match="but RAY_ADDRESS names one"):
        command(["--config", config, "--output", "x", "--cpus", "2"])


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive(make_study(tmp_path / "out"))
    assert command(["show", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("# Sweep out")


def test_a_sweep_in_which_all_failed_does_not_end_well(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lnln_dist.sweep.session.run", lambda *_, **__: Outcome(Path(config), None, ["all"])
    )
    with pytest.raises(TrainingError, match=r"no setting came through: .* --retry-failed"):
        command(["--config", config, "--output", str(tmp_path / "out")])


def test_resume_alone_takes_the_sweep_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(tmp_path)
    seen: list[Any] = []

    def run(sweep: Any, output: Path, *, resume: bool, **_: Any) -> Outcome:
        seen.append((sweep, output, resume))
        return Outcome(tmp_path / "sweep.yaml", None, [])

    monkeypatch.setattr("lnln_dist.sweep.session.run", run)
    assert command(["--output", str(tmp_path), "--resume"]) == 0
    ((sweep, output, resume),) = seen
    assert (output, resume) == (tmp_path, True)
    assert list(sweep.seeds) == SWEEP["seeds"]
    assert set(sweep.axes) == set(SWEEP["axes"])
