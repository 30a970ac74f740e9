"""Schedulers of Ray's by name, and every mistake in a name."""

from pathlib import Path
from typing import Any

import pytest
from sweep_standin import DRAWN, SWEEP, make_study

from lnln_dist.errors import ConfigError
from lnln_dist.sweep import space, study

pytest.importorskip("ray", reason="Ray is an extra")

from lnln_dist.sweep.tune import native


def population(**arguments: Any) -> dict[str, Any]:
    return {
        "axes": {"optim.lr": {"loguniform": [1e-5, 1e-3]}},
        "seeds": [1],
        "search": {"kind": "random", "samples": 2},
        "screen": {"scheduler": {"ray": "PopulationBasedTraining", **arguments}},
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
            "screen.scheduler: HyperBandScheduler: max_t -1 is not a number, 0 or above",
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
            "perturbation_interval 9 leaves no epoch to go on with what is changed, as a train",
        ),
        (population(burn_in_period=20), "burn_in_period 20 leaves no epoch"),
        (population(quantile_fraction=0), "quantile_fraction 0 replaces nobody"),
        (population(perturbation_interval=8.5), "perturbation_interval 8.5 leaves no epoch"),
        (population(perturbation_interval=True), "perturbation_interval True is not a number"),
        (population(burn_in_period=None), "burn_in_period None is not a number, 0 or above"),
        (population(burn_in_period=-1), "burn_in_period -1 is not a number, 0 or above"),
        (population(quantile_fraction="x"), "quantile_fraction 'x' is not a number, 0 or above"),
        (population(quantile_fraction=0.9), r"PopulationBasedTraining: .*\(given quantile_fractio"),
        (population(perturbation_factors=[0, 1.2]), "is not 2 numbers above 0, such as"),
        (population(perturbation_factors=["a", "b"]), r"factors \['a', 'b'\] is not 2 numbers"),
        (population(perturbation_factors=[0.5]), r"factors \[0.5\] is not 2 numbers above 0"),
        (population(resample_probability=1.5), "resample_probability 1.5 is not a number from 0"),
        (population(resample_probability="x"), "resample_probability 'x' is not a number from 0"),
        (population(require_attrs="yes"), "require_attrs 'yes' is not true or false"),
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
            "HyperBandScheduler: reduction_factor 0 is not a number above 1",
        ),
        (
            {"screen": {"scheduler": {"ray": "ASHAScheduler", "grace_period": "long"}}},
            "ASHAScheduler: grace_period 'long' is not a number, 0 or above",
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
        (
            {"search": {"ray": "OptunaSearch", "samples": 3, "arguments": {"seed": 1}}},
            "search: OptunaSearch: its seed is search.seed: set that",
        ),
        (
            {"search": {"ray": "OptunaSearch", "samples": 3, "sampler": "TPE"}},
            r"search: OptunaSearch: .*\(given sampler: TPE\)",
        ),
        (
            {"search": {"ray": "OptunaSearch", "samples": 3, "points_to_evaluate": "x"}},
            r"search: OptunaSearch: .*\(given points_to_evaluate: x\)",
        ),
        ({"callbacks": [{"lnln_dist.Nobody": {}}]}, r"callbacks: lnln_dist.Nobody cannot be imp"),
        ({"callbacks": [{"..x": {}}]}, r"callbacks: \.\.x cannot be imported"),
        ({"callbacks": [{"os.getcwd": {}}]}, "callbacks: os.getcwd makes no callback of Tune's"),
        ({"callbacks": [{"sys.exit": {}}]}, "callbacks: sys.exit: SystemExit"),
        ({"callbacks": [{"datetime.date": {"no": 1}}]}, "callbacks: datetime.date: .*arg"),
    ],
)
def test_mistakes_are_one_line(raw: dict[str, Any], message: str) -> None:
    if "ray" in raw.get("search", {}):
        pytest.importorskip("optuna", reason="Optuna is an extra")
        raw = {**DRAWN, **raw}
    with pytest.raises(ConfigError, match=message):
        native.check(space.resolve(study.build({**SWEEP, **raw})))
