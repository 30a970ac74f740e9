"""Settings proposed by Optuna."""

import copy
from pathlib import Path
from typing import Any

import pytest
from sweep_standin import SWEEP, drive, make_study

from lnln_dist.errors import CheckpointError, UserError
from lnln_dist.sweep.results import Results
from lnln_dist.sweep.search import optuna_proposer

RAW: dict[str, Any] = {
    **copy.deepcopy(SWEEP),
    "axes": {
        "loss.adversarial": {"uniform": [0.0, 1.0]},
        "loss.reconstruction": {"choice": [0, 0.1]},
        "select.rates": {"grid": [[0.1], [0.9]]},
    },
    "search": {"kind": "optuna", "samples": 14},
    "seeds": [1],
    "screen": {"seeds": 1},
}


def test_proposals_fill_every_stratum_and_come_near_the_best(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    study = make_study(tmp_path, RAW, propose=optuna_proposer)
    drive(study)
    for rate in ("rates0.1", "rates0.9"):
        members = [s for s in study.space.settings if s.stratum == rate]
        assert len(members) == 14
        best = min(members, key=lambda s: study.plan.verdicts[s.name].rank or 99)
        assert best.values["loss.reconstruction"] == 0.1
        assert best.values["loss.adversarial"] == pytest.approx(0.4, abs=0.2)
    again = make_study(tmp_path, RAW, propose=optuna_proposer)
    assert again.over
    assert [s.name for s in again.space.settings] == [s.name for s in study.space.settings]


def test_a_small_space_is_used_up_rather_than_searched_for_ever(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    raw = {**RAW, "axes": {"loss.adversarial": {"choice": [0, 0.4, 0.8]}}}
    study = make_study(tmp_path, raw, propose=optuna_proposer)
    drive(study)
    assert len(study.space.settings) == 3
    assert study.over
    results = Results(tmp_path)  # knows it, too, and so does whoever resumes
    assert results.over
    assert results.winner("all") is not None
    assert make_study(tmp_path, raw, propose=lambda *_: pytest.fail("asked again")).over
    wider = {**raw, "axes": {"loss.adversarial": {"choice": [0, 0.4, 0.6, 0.8]}}}
    assert not make_study(tmp_path, wider, propose=optuna_proposer).over


@pytest.mark.parametrize(
    "axes",
    [
        {"loss.adversarial": {"uniform": [0.3, 0.5]}},
        {"loss.reconstruction": {"choice": [0.1]}},
        {"select.rates": {"grid": [[0.9]]}},
    ],
)
def test_settings_outside_the_present_axes_are_left_behind(
    tmp_path: Path, axes: dict[str, Any]
) -> None:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    drive(make_study(tmp_path, RAW, propose=optuna_proposer))
    raw = {**RAW, "axes": {**RAW["axes"], **axes}}
    study = make_study(tmp_path, raw, propose=optuna_proposer)
    drive(study)
    assert {s.stratum for s in study.space.settings} == set(study.space.strata)
    (name,) = axes
    allowed = study.space.sweep.axes[name]
    low, high = allowed.uniform or (0.0, 1.0)
    for made in study.space.settings:
        value = made.values[name]
        assert value in list(allowed.choice or allowed.grid or [value])
        assert name != "loss.adversarial" or low <= value <= high


def test_proposals_under_other_common_settings_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    drive(make_study(tmp_path, RAW, propose=optuna_proposer), stop_after=3)
    raw = {**RAW, "settings": {"train": {"epochs": 5}}}
    with pytest.raises(CheckpointError, match=r"common settings \(.*train.epochs: 9 there"):
        make_study(tmp_path, raw, propose=optuna_proposer)


def test_proposals_stay_within_narrow_bounds(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    raw = {
        **RAW,
        "axes": {"optim.lr": {"loguniform": [1.23456e-5, 1.2349e-5]}},
        "search": {"kind": "optuna", "samples": 3},
    }
    drive(make_study(tmp_path, raw, propose=optuna_proposer))
    again = make_study(tmp_path, raw, propose=optuna_proposer)
    assert again.over


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    study = make_study(tmp_path, RAW, propose=optuna_proposer)
    with pytest.raises(UserError, match=r"lnln-dist\[optuna\]"):
        study.next()
