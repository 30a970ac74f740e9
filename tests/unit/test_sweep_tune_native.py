"""Schedulers, searchers and callbacks of Ray's by name."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
from sweep_standin import SWEEP, drive, make_study

from lnln_dist.errors import ConfigError, UserError
from lnln_dist.sweep import space, study
from lnln_dist.sweep.results import Results
from lnln_dist.sweep.state import Study
from lnln_dist.sweep.summary import markdown

pytest.importorskip("ray", reason="Ray is an extra")

from lnln_dist.sweep.tune import native

DRAWN = {
    **copy.deepcopy(SWEEP),
    "axes": {
        "loss.adversarial": {"uniform": [0.0, 1.0]},
        "loss.reconstruction": {"choice": [0, 0.1]},
        "select.rates": {"grid": [[0.1], [0.9]]},
    },
    "screen": {"seeds": 1},
}


def population(**arguments: Any) -> dict[str, Any]:
    return {
        "axes": {"optim.lr": {"loguniform": [1e-5, 1e-3]}},
        "seeds": [1],
        "search": {"kind": "random", "samples": 2},
        "screen": {"scheduler": {"ray": "PopulationBasedTraining", **arguments}},
    }


def searched(path: Path, raw: dict[str, Any]) -> Study:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    return make_study(path, raw, propose=native.proposer(study.build(raw)))


def by_ray(scheduler: dict[str, Any]) -> study.SweepConfig:
    return study.build({**SWEEP, "screen": {"scheduler": scheduler}})


@pytest.mark.parametrize(
    "scheduler",
    [
        {"ray": "ASHAScheduler", "grace_period": 2},
        {"ray": "AsyncHyperBandScheduler"},
        {"ray": "MedianStoppingRule", "arguments": {"grace_period": 2}},
    ],
)
def test_a_scheduler_gets_the_sweeps_objective_and_its_own_arguments(
    tmp_path: Path, scheduler: dict[str, Any]
) -> None:
    sweep = by_ray(scheduler)
    native.check(space.resolve(sweep))
    make = native.scheduler(sweep, make_study(tmp_path, {**SWEEP, "screen": {}}))
    assert make is not None
    one, other = make(), make()
    assert one is not other
    assert one.metric == "mae"
    assert getattr(one, "_max_t", 9) == 9


def test_a_population_changes_what_a_trained_model_can_go_on_with(tmp_path: Path) -> None:
    raw = {
        **SWEEP,
        "axes": {
            "optim.lr": {"loguniform": [1e-5, 1e-3]},
            "loss.adversarial": {"choice": [0.2, 0.4]},
            "model.encoder.dropout": {"uniform": [0.0, 0.5]},
            "noise": {"choice": {"low": {"noise.maximum": 0.5}, "high": {"noise.maximum": 0.9}}},
        },
        "search": {"kind": "random", "samples": 4},
        "seeds": [1],
        "screen": {"scheduler": {"ray": "PopulationBasedTraining", "quantile_fraction": 0.5}},
    }
    sweep = study.build(raw)
    native.check(space.resolve(sweep))
    assert native.needs_all(sweep)
    make = native.scheduler(sweep, make_study(tmp_path, raw))
    assert make is not None
    made = make()
    assert made._hyperparam_mutations.keys() == {"optim.lr", "loss.adversarial"}
    assert made._hyperparam_mutations["loss.adversarial"] == [0.2, 0.4]
    assert (made._synch, made._time_attr, made._perturbation_interval) == (
        True,
        "training_iteration",
        1,
    )
    beyond = {"optim.lr": 1.2e-3, "loss.adversarial": 0.4}
    assert made._custom_explore_fn(beyond) == {"optim.lr": 1e-3, "loss.adversarial": 0.4}


def test_our_own_needs_none(tmp_path: Path) -> None:
    made = make_study(tmp_path)
    assert native.scheduler(made.space.sweep, made) is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"screen": {"scheduler": {"ray": "ASHASheduler"}}}, "did you mean ASHAScheduler"),
        (
            {
                "screen": {"scheduler": {"ray": "HyperBandScheduler"}},
                "search": {"ray": "OptunaSearch", "samples": 3},
            },
            "HyperBandScheduler compares all trials at once, search OptunaSearch proposes them one",
        ),
        (
            {"screen": {"scheduler": {"ray": "HyperBandScheduler", "max_t": -1}}},
            r"screen.scheduler: HyperBandScheduler: Max \(time_attr\) not valid",
        ),
        ({"screen": {"scheduler": {"ray": "PB2"}}}, "screen.scheduler: 'PB2' is no scheduler; kn"),
        (
            {"screen": {"scheduler": {"ray": "PopulationBasedTraining"}}},
            "other seeds cannot repeat one: list one seed under seeds",
        ),
        (
            {"screen": {"scheduler": {"ray": "PopulationBasedTraining"}}, "seeds": [1]},
            "has nothing to change: give an axis over loss., noise., optim.",
        ),
        (
            {"screen": {"scheduler": {"ray": "PopulationBasedTraining", "synch": False}}},
            "PopulationBasedTraining: synch is given by the sweep: leave it out",
        ),
        (
            population(perturbation_interval=9),
            "perturbation_interval 9 is no less than the 9 epochs of a training",
        ),
        (population(burn_in_period=20), "burn_in_period 20 is no less than the 9 epochs"),
        (population(quantile_fraction=0), "quantile_fraction 0 replaces nobody"),
        (
            {**population(), "confirm": {"best": 2}},
            "stratum all is a population of 2, all of which would be confirmed as they are",
        ),
        (
            {"screen": {"scheduler": {"ray": "ASHAScheduler", "time_attr": "steps"}}},
            "ASHAScheduler: time_attr is given by the sweep: leave it out",
        ),
        (
            {"screen": {"scheduler": {"ray": "HyperBandScheduler", "reduction_factor": 0}}},
            r"HyperBandScheduler: divide by zero .*\(given reduction_factor: 0\)",
        ),
        (
            {"screen": {"scheduler": {"ray": "ASHAScheduler", "grace_period": "long"}}},
            r"ASHAScheduler: .*\(given grace_period: long\)",
        ),
        (
            {"screen": {"scheduler": {"ray": "ASHAScheduler", "grace_perod": 2}}},
            "ASHAScheduler has no argument grace_perod; did you mean grace_period",
        ),
        ({"search": {"ray": "Optuna", "samples": 3}}, "search: 'Optuna' is no searcher; known"),
        (
            {"search": {"ray": "OptunaSearch", "samples": 3, "sead": 1}},
            "search: OptunaSearch has no argument sead; did you mean seed",
        ),
        ({"callbacks": [{"lnln_dist.Nobody": {}}]}, r"callbacks: lnln_dist.Nobody cannot be imp"),
        ({"callbacks": [{"datetime.date": {"no": 1}}]}, "callbacks: datetime.date: .*arg"),
    ],
)
def test_mistakes_are_one_line(raw: dict[str, Any], message: str) -> None:
    if "ray" in raw.get("search", {}):
        pytest.importorskip("optuna", reason="Optuna is an extra")
        raw = {**DRAWN, **raw}
    with pytest.raises(ConfigError, match=message):
        native.check(space.resolve(study.build({**SWEEP, **raw})))


def test_callbacks_and_loggers_are_made() -> None:
    callback = {"collections.Counter": {"a": 2}}
    sweep = study.build({**SWEEP, "callbacks": [callback], "loggers": ["csv", "json"]})
    made = native.callbacks(sweep)
    assert [type(one).__name__ for one in made] == [
        "CSVLoggerCallback",
        "JsonLoggerCallback",
        "Counter",
    ]
    assert made[-1] == {"a": 2}


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
