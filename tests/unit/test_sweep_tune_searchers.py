"""Searchers of Ray's by name; unknown ones are in ``test_sweep_tune_native.py``."""

import sys
from pathlib import Path
from typing import Any

import pytest
from sweep_standin import DRAWN, drive, make_study

from lnln_dist.errors import UserError
from lnln_dist.sweep import space, study
from lnln_dist.sweep.results import Results
from lnln_dist.sweep.state import Study
from lnln_dist.sweep.summary import markdown

pytest.importorskip("ray", reason="Ray is an extra")

from lnln_dist.sweep.tune import native, searchers


def searched(path: Path, raw: dict[str, Any]) -> Study:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    return make_study(path, raw, propose=searchers.proposer(study.build(raw)))


@pytest.mark.parametrize("search", [{"kind": "optuna"}, {"ray": "OptunaSearch"}])
def test_a_searcher_proposes_in_every_stratum_and_hears_of_the_results(
    tmp_path: Path, search: dict[str, Any]
) -> None:
    raw = {**DRAWN, "search": {**search, "samples": 14, "seed": 3}}
    state = searched(tmp_path, raw)
    drive(state, stop_after=20)
    state = searched(tmp_path, raw)  # by another session
    drive(state)
    for stratum in ("rates0.1", "rates0.9"):
        members = [s for s in state.space.settings if s.stratum == stratum]
        assert len(members) == 14
        best = min(members, key=lambda s: state.plan.verdicts[s.name].rank or 99)
        assert best.values["loss.reconstruction"] == 0.1
        assert best.values["loss.adversarial"] == pytest.approx(0.4, abs=0.2)
    again = searched(tmp_path, raw)
    assert again.over
    assert [s.name for s in again.space.settings] == [s.name for s in state.space.settings]
    assert "go by who reports first" in markdown(Results(tmp_path))


def test_a_resumed_searcher_knows_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    from ray.tune.search.optuna import OptunaSearch

    told: list[tuple[dict[str, Any], float]] = []
    monkeypatch.setattr(OptunaSearch, "add_evaluated_point", lambda _, *known: told.append(known))
    raw = {**DRAWN, "search": {"kind": "optuna", "samples": 3}}
    drive(searched(tmp_path, raw), stop_after=2)
    assert told == []
    study = searched(tmp_path, raw)
    drive(study, stop_after=1)
    (point, score), *_ = told
    first = study.space.settings[0]
    assert point["loss.adversarial"] == first.values["loss.adversarial"]
    assert [0, 0.1][point["loss.reconstruction"]] == first.values["loss.reconstruction"]
    assert score == study.records[first.name, 1].epochs[0].scores["mae"]


def test_a_small_space_is_used_up_rather_than_searched_for_ever(tmp_path: Path) -> None:
    raw = {
        **DRAWN,
        "axes": {"loss.adversarial": {"choice": [0, 0.4, 0.8]}},
        "search": {"kind": "optuna", "samples": 9},
    }
    study = searched(tmp_path, raw)
    drive(study)
    assert len(study.space.settings) == 3
    assert study.over
    results = Results(tmp_path)  # knows it, too, and so does whoever resumes
    assert results.over
    assert results.winner("all") is not None
    assert make_study(tmp_path, raw, propose=lambda *_: pytest.fail("asked again")).over
    wider = {**raw, "axes": {"loss.adversarial": {"choice": [0, 0.4, 0.6, 0.8]}}}
    assert not make_study(tmp_path, wider).over


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
    raw = {**DRAWN, "seeds": [1], "search": {"kind": "optuna", "samples": 6}}
    drive(searched(tmp_path, raw))
    state = searched(tmp_path, {**raw, "axes": {**raw["axes"], **axes}})
    drive(state)
    assert {s.stratum for s in state.space.settings} == set(state.space.strata)
    (name,) = axes
    allowed = state.space.sweep.axes[name]
    low, high = allowed.uniform or (0.0, 1.0)
    for made in state.space.settings:
        value = made.values[name]
        assert value in list(allowed.choice or allowed.grid or [value])
        assert name != "loss.adversarial" or low <= value <= high


def test_proposals_stay_within_narrow_bounds(tmp_path: Path) -> None:
    raw = {
        **DRAWN,
        "axes": {"optim.lr": {"loguniform": [1.23456e-5, 1.2349e-5]}},
        "search": {"kind": "optuna", "samples": 3},
    }
    drive(searched(tmp_path, raw))
    assert searched(tmp_path, raw).over


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="OptunaSearch needs optuna: pip install optuna"):
        native.check(
            space.resolve(study.build({**DRAWN, "search": {"kind": "optuna", "samples": 3}}))
        )
