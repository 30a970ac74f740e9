"""Schedulers, searchers and callbacks of Ray's by name."""

import copy
from pathlib import Path
from typing import Any

import pytest
from sweep_standin import SWEEP, drive, make_study

from lnln_dist.errors import ConfigError
from lnln_dist.sweep import study
from lnln_dist.sweep.results import Results
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
    native.check(sweep)
    make = native.scheduler(sweep, make_study(tmp_path, {**SWEEP, "screen": {}}))
    assert make is not None
    one, other = make(), make()
    assert one is not other
    assert one.metric == "mae"
    assert getattr(one, "_max_t", 9) == 9


def test_our_own_needs_none(tmp_path: Path) -> None:
    made = make_study(tmp_path)
    assert native.scheduler(made.space.sweep, made) is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"screen": {"scheduler": {"ray": "ASHASheduler"}}}, "did you mean ASHAScheduler"),
        (
            {"screen": {"scheduler": {"ray": "HyperBandScheduler"}}},
            "HyperBandScheduler wants all trials at once.*: use ASHAScheduler with brackets",
        ),
        ({"screen": {"scheduler": {"ray": "PB2"}}}, "screen.scheduler: 'PB2' is no scheduler; kn"),
        (
            {"screen": {"scheduler": {"ray": "PopulationBasedTraining"}}},
            "there is none to confirm: use it in a script with lnln_dist.sweep.make_trainable",
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
    if "search" in raw:
        pytest.importorskip("optuna", reason="Optuna is an extra")
        raw = {**DRAWN, **raw}
    with pytest.raises(ConfigError, match=message):
        native.check(study.build({**SWEEP, **raw}))


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


def test_a_searcher_proposes_in_every_stratum_and_hears_of_the_results(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="Optuna is an extra")
    raw = {**DRAWN, "search": {"ray": "OptunaSearch", "samples": 12, "seed": 3}}
    state = make_study(tmp_path, raw, propose=native.proposer(study.build(raw)))
    drive(state)
    for stratum in ("rates0.1", "rates0.9"):
        members = [s for s in state.space.settings if s.stratum == stratum]
        assert len(members) == 12
        best = min(members, key=lambda s: state.plan.verdicts[s.name].rank or 99)
        assert best.values["loss.reconstruction"] == 0.1
        assert best.values["loss.adversarial"] == pytest.approx(0.4, abs=0.3)
    again = make_study(tmp_path, raw, propose=native.proposer(study.build(raw)))
    assert again.over
    assert "go by who reports first" in markdown(Results(tmp_path))
