"""Axes: points, draws, strata and names."""

import pytest

from lnln_dist.errors import ConfigError
from lnln_dist.sweep import axes, study


def sweep(**raw: object) -> study.SweepConfig:
    return study.build(raw)


def test_grid_crosses_plain_values_and_named_points() -> None:
    made = sweep(
        axes={
            "loss.adversarial": {"grid": [0, 1]},
            "noise": {"grid": {"low": {"noise": {"maximum": 0.5}}, "all": {"noise.maximum": 1.0}}},
        }
    )
    points = list(axes.grid(made))
    assert len(points) == 4
    assert axes.apply(made, points[0]) == {"loss.adversarial": 0, "noise.maximum": 0.5}
    assert axes.label(points[0], list(points[0])) == "adversarial0_noise-low"


def test_draws_depend_on_their_number_and_axis_alone() -> None:
    one = {"optim.lr": {"loguniform": [1e-5, 1e-2]}}
    two = {"loss.adversarial": {"uniform": [0.0, 1.0]}, **one, "train.batch_size": {"choice": [8]}}
    few = list(axes.samples(sweep(axes=one, search={"kind": "random", "samples": 3})))
    more = list(axes.samples(sweep(axes=two, search={"kind": "random", "samples": 9})))
    assert [d["optim.lr"] for d in few] == [d["optim.lr"] for d in more[:3]]
    assert len({d["optim.lr"] for d in more}) == 9
    assert all(1e-5 <= d["optim.lr"] <= 1e-2 and d["train.batch_size"] == 8 for d in more)
    other = {"kind": "random", "samples": 3, "seed": 1}
    assert few != list(axes.samples(sweep(axes=one, search=other)))


def test_logarithmic_draws_are_even_in_the_logarithm() -> None:
    made = sweep(
        axes={"optim.lr": {"loguniform": [1e-4, 1.0]}}, search={"kind": "random", "samples": 400}
    )
    below = sum(d["optim.lr"] < 1e-2 for d in axes.samples(made))
    assert 160 < below < 240


def test_data_scoring_grids_and_named_axes_make_strata() -> None:
    made = sweep(
        axes={
            "loss.adversarial": {"grid": [0]},
            "data.path": {"grid": ["a", "b"]},
            "hardness": {"grid": {"hard": {"select.rates": [0.9]}}},
            "noise.maximum": {"grid": [0.5]},
            "optim.lr": {"grid": [0.1]},
        },
        strata=["noise.maximum"],
    )
    assert axes.strata(made) == ["data.path", "hardness", "noise.maximum"]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"loss.adversrial": {"grid": [1]}}, "axes.loss.adversrial: .*did you mean loss.adv"),
        ({"x": {"grid": {"p": {"loss.sentimen": 1}}}}, "axes.x.p: loss.sentimen: unknown key"),
        ({"loss": {"grid": [1]}}, r"^axes.loss: .* several settings: .* loss.completeness$"),
        ({"x": {"grid": {"p": {"loss": 1}}}}, "axes.x.p: loss: expected a mapping, got 1"),
        ({"train.seed": {"grid": [1]}}, "seeds are replicas"),
        ({"train.keep_checkpoints": {"grid": [1, 2]}}, "keeps one checkpoint"),
        ({"select.metric": {"grid": ["mae"]}}, "one objective"),
        (
            {"loss.adversarial": {"grid": [1]}, "x": {"grid": {"p": {"loss.adversarial": 1}}}},
            "axes.x: loss.adversarial is set by axis loss.adversarial too",
        ),
    ],
)
def test_refused_axes(raw: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        axes.check(sweep(axes=raw))


@pytest.mark.parametrize("name", ["a/b", "a b", "..\\x", "naïve", "", "a:b"])
def test_names_that_no_file_could_bear_are_refused(name: str) -> None:
    point = {"loss.adversarial": 1}
    for raw in ({name: {"grid": {"p": point}}}, {"x": {"grid": {name: point}}}):
        with pytest.raises(ConfigError, match=r"letters, digits and \. _ - \+"):
            axes.check(sweep(axes=raw))


def test_a_recipe_alone_is_no_axis() -> None:
    with pytest.raises(ConfigError, match=r"axes\.recipe: recipe is a name for reports"):
        axes.check(sweep(axes={"recipe": {"grid": ["paper", "official"]}}))
    points = {"official": {"recipe": "official", "optim.schedule": "official"}, "paper": {}}
    axes.check(sweep(axes={"protocol": {"grid": points}}))


def test_names_of_letters_digits_and_some_marks_are_taken() -> None:
    axes.check(sweep(axes={"A-b_1.c+": {"grid": {"low-0.5_x+": {"loss.adversarial": 1}}}}))


def test_strata_are_grids_and_optuna_wants_choices() -> None:
    search = {"kind": "optuna", "samples": 2}
    lr = {"optim.lr": {"loguniform": [1e-4, 1e-3]}}
    with pytest.raises(ConfigError, match="must be a grid"):
        axes.check(sweep(axes={**lr, "data.path": {"choice": ["a", "b"]}}, search=search))
    with pytest.raises(ConfigError, match="write choice instead of grid"):
        axes.check(sweep(axes={**lr, "loss.adversarial": {"grid": [0, 1]}}, search=search))


def test_names_use_the_shortest_endings_that_tell_axes_apart() -> None:
    values = {"noise.rate": 0.3, "noise.audio.rate": 0.5, "optim.decay_all": True, "x": [0.1, 2]}
    assert axes.label(values, list(values)) == ("noise-rate0.3_audio-rate0.5_decay_all-on_x0.1+2")
    assert axes.label({"data.path": "/a/b c/mo%si"}, ["data.path"]) == "path-mo-si"
    assert axes.label({"noise.mode": None}, ["noise.mode"]) == "mode-None"
