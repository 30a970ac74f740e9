"""A session from YAML to summary without Ray, and what stops one before Ray is started."""

import re
from pathlib import Path
from typing import Any

import pytest
import tiny_runs
import yaml
from sweep_standin import breaking, drive, make_study, resolve, swept

from lnln_dist.errors import ConfigError, DataError, TrainingError, TransientError, UserError
from lnln_dist.files import held
from lnln_dist.sweep import session, space
from lnln_dist.sweep.results import Results

FROZEN = resolve().sweep


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("Ray was about to be started")

    monkeypatch.setattr(session, "_train", refuse)


def test_a_dry_run_lists_settings_count_and_cost() -> None:
    text = session.describe(resolve(), seconds_per_epoch=10.0)
    assert "adversarial0.4_reconstruction0.1" in text
    assert "8 settings x 3 seeds in 1 stratum; the best 1 of each stratum" in text
    assert "the full grid has 24 trials and 216 epochs" in text
    assert "of worker time at 10 s per epoch" in text
    assert "with 3 seeds a true difference of 3.3 standard deviations" in text


def test_a_dry_run_says_what_it_leaves_out() -> None:
    axes = {"train.log_steps": {"grid": [1, 2]}, "train.batch_size": {"grid": list(range(1, 60))}}
    text = session.describe(resolve({"axes": axes}), seconds_per_epoch=None)
    assert "... 19 more" in text
    assert "dropped as equal to another setting: log_steps2_batch_size1" in text


def test_a_dry_run_says_what_would_stop_it() -> None:
    pytest.importorskip("ray", reason="Ray is an extra")
    made = resolve({"screen": {"scheduler": {"ray": "ASHASheduler"}}})
    text = session.describe(made, seconds_per_epoch=None)
    assert "would not start here: screen.scheduler: 'ASHASheduler' is no scheduler" in text
    assert "would not start here: data.path is empty" in text


@pytest.mark.parametrize(
    ("raw", "kind", "message"),
    [
        ({}, ConfigError, "data.path is empty"),
        ({"settings": {"data.path": "nowhere"}}, DataError, "nowhere"),
        ({"settings": {"data.path": "DATA", "select.metric": "acc9"}}, ConfigError, "acc9"),
        (
            {
                "settings": {"data.path": "DATA"},
                "axes": {"task.kind": {"grid": ["regression", "three-class"]}},
            },
            ConfigError,
            "'mae' is not a score of .* by task.kind three-class",
        ),
    ],
)
@pytest.mark.usefixtures("no_ray")
def test_mistakes_stop_before_ray(
    tmp_path: Path, raw: dict[str, Any], kind: type[UserError], message: str
) -> None:
    tiny_runs.write_data(tmp_path / "data")
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump(raw).replace("DATA", str(tmp_path / "data")))
    sweep = session.frozen(config, [])
    with pytest.raises(kind, match=message):
        session.run(sweep, tmp_path / "out")
    # A sweep may be planned where its data are not: there it is a remark.
    planned = session.describe(space.resolve(sweep), seconds_per_epoch=None).splitlines()[-1]
    assert planned.startswith("would not start here: ")
    assert re.search(message, planned)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_ray")
def test_a_finished_sweep_is_not_started_again(tmp_path: Path) -> None:
    drive(make_study(tmp_path / "out"))
    with pytest.raises(UserError, match="pass --resume"):
        session.run(FROZEN, tmp_path / "out", program=_never)
    made = session.run(FROZEN, tmp_path / "out", resume=True, program=_never).summary
    assert "Finished. 8 settings" in made.read_text()
    assert (tmp_path / "out" / "figures" / "rungs.png").exists()
    assert session.show(tmp_path / "out") == made.read_text()
    with held(tmp_path / "out", wait_s=0), pytest.raises(TransientError, match="another process"):
        session.run(FROZEN, tmp_path / "out", resume=True, program=_never)


def test_resuming_what_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "_train", lambda *_: None)
    output = tmp_path / "out"
    said = f"{output} holds no sweep yet: a new one is started"
    session.run(FROZEN, output, resume=True, program=_never)
    assert said in capsys.readouterr().err
    session.run(FROZEN, output, resume=True, program=_never)
    assert said not in capsys.readouterr().err
    session.run(FROZEN, tmp_path / "other", program=_never)
    assert "holds no sweep yet" not in capsys.readouterr().err


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("a finished trial was trained again")


def test_show_of_a_sweep_that_has_just_begun(tmp_path: Path) -> None:
    made = make_study(tmp_path)
    names = [setting.trial(seed) for setting, seed, _ in Results(tmp_path).trials]
    made.folder.trial(names[1]).mkdir()
    head, *lines = session.show(tmp_path).splitlines()
    assert head.endswith("no trial has finished an epoch yet")
    states = ["waiting", "begun", *["waiting"] * (len(names) - 2)]
    assert lines == [f"- {name}: {state}" for name, state in zip(names, states, strict=True)]


def test_show_of_a_sweep_whose_trials_all_failed_gives_the_reasons(tmp_path: Path) -> None:
    swept(tmp_path, run=breaking(TrainingError("loss not finite")))
    text = session.show(tmp_path)
    assert "none: no setting came through" in text
    assert "loss not finite" in text
