"""Reading of a sweep's YAML."""

from pathlib import Path

import pytest

from lnln_dist.errors import ConfigError
from lnln_dist.sweep import study


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_defaults_are_filled_in_and_config_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    sweep = study.read(write(tmp_path, "config: base.yaml\nseeds: [1, 2]"))
    assert sweep.config == (str(tmp_path / "base.yaml"),)
    assert sweep.screen.scheduler == "asha"
    assert sweep.seeds == (1, 2)


def test_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "axes: {loss.adversarial: {grid: [0, 1]}}")
    sweep = study.read(
        path,
        [
            "screen.scheduler=fifo",
            "settings.optim.lr=1e-3",
            "axes.loss.adversarial.grid=[0.5]",
            "seeds=[7]",
        ],
    )
    assert sweep.screen.scheduler == "fifo"
    assert sweep.settings == {"optim": {"lr": 1e-3}}
    assert sweep.axes["loss.adversarial"].grid == (0.5,)
    assert sweep.seeds == (7,)


def test_an_override_finds_what_it_overrides_however_it_is_written(tmp_path: Path) -> None:
    for text in ("settings: {train.epochs: 2}", "settings: {train: {epochs: 2}}"):
        sweep = study.read(write(tmp_path, text), ["settings.train.epochs=5"])
        assert sweep.settings == {"train": {"epochs": 5}}


def test_dumped_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    text = """
    axes:
      loss.adversarial: {uniform: [0.0, 1.0]}
      optim.lr: {loguniform: [1e-5, 1e-3]}
      recipe-of-noise:
        grid: {low: {noise.maximum: 0.5}, high: {noise.maximum: 1.0}}
    search: {kind: random, samples: 4}
    seeds: [1, 2, 3]
    screen: {seeds: 2, brackets: 2}
    resources: {gpus: 0.25}
    """
    sweep = study.read(write(tmp_path, text))
    assert study.read(write(tmp_path, study.dump(sweep))) == sweep


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: [1]", "sed: unknown key; did you mean seeds?"),
        ("screen: {scedule: asha}", "screen.scedule: unknown key; did you mean scheduler?"),
        ("axes: {a: {gird: [1]}}", "axes.a.gird: unknown key; did you mean grid?"),
        ("axes: {grid: {gird: [1]}}", "axes.grid.gird: unknown key; did you mean grid?"),
        ("axes: {a: {grid: [1], choice: [2]}}", "axes.a: give exactly one of grid"),
        ("axes: {a: {grid: []}}", "axes.a: give exactly one of grid"),
        ("axes: {a: {uniform: [1.0, 0.5]}}", "lower bound 1.0 must be below"),
        ("axes: {a: {loguniform: [0.0, 0.5]}}", "loguniform needs positive bounds"),
        ("axes: {a: {uniform: [0.0, 0.5]}}", "search.kind grid tries every value, but a is"),
        ("search: {kind: random, samples: 3}", "samples, but every axis is a grid"),
        ("search: {kind: random}", "search: kind random needs samples"),
        ("search: {samples: 3}", "search: kind grid takes no samples"),
        ("seeds: [1, 1]", "listed twice"),
        ("seeds: []", "seeds: .*at least 1"),
        ("seeds: [2020-01-01]", "seeds.0: .*got '2020-01-01'"),
        (
            "{search: {kind: random, samples: 2, arguments: {sampler: 1}}}",
            "kind random takes no sampler: arguments are a searcher's",
        ),
        (
            "{screen: {scheduler: {ray: A, max_t: 3, arguments: {max_t: 4}}}}",
            "max_t: stands beside ray and under arguments",
        ),
        ("{screen: {scheduler: {ray: null}}}", "ray: names nothing; write one of Ray's as"),
        (
            "{search: {kind: random, ray: OptunaSearch, samples: 2}}",
            "kind random and ray: OptunaSearch are two sources of settings: leave one out",
        ),
        (
            "{seeds: [1], screen: {seeds: 2}}",
            "screen.seeds 2 exceeds the seeds listed, 1",
        ),
        ("strata: [b]", "strata: b is no axis"),
        (
            "screen: {scheduler: HyperBandScheduler}",
            "screen.scheduler: one of Ray's is written as {ray: HyperBandScheduler}",
        ),
        ("search: OptunaSearch", "search: one of Ray's is written as {ray: OptunaSearch}"),
        ("resources: {gpus: 2.5}", "gpus 2.5 is for one process: .* leave gpus at 1, set workers"),
        ("resources: {gpus: 2}", "gpus 2 is for one process: .* leave gpus at 1, set workers"),
        (
            "axes: {loss.adversarial: [0, 1]}",
            r"axes.loss.adversarial: say what to do with the values, such as grid: \[0, 1\]$",
        ),
        ("axes: {loss.adversarial: 0.5}", r"adversarial: say what .* such as grid: \[0.5\]$"),
        ("base: x.yaml", "base: unknown key; a sweep names its training config under config$"),
        ("resources: {gpus: 0.5, workers: 2}", "whole GPUs"),
        (
            "screen: {scheduler: ash}",
            "screen.scheduler: Input should be 'asha' or 'fifo', got 'ash'",
        ),
        (
            "screen: {scheduler: {ray: A, arguments: 3, b: 1}}",
            "arguments: Input should be an object, got 3",
        ),
        ("screen: {reduction: 1}", "screen.reduction: .*got 1"),
        ("config: 3", r"config.0: .* valid string, got 3"),
        ("settings: {train.epochs: 2, train: 3}", "train is given a value and settings"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study.read(write(tmp_path, text))


@pytest.mark.parametrize("item", ["screen", "=3", "seeds=[1", "axes={}"])
def test_malformed_overrides(tmp_path: Path, item: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        study.read(write(tmp_path, ""), [item])


@pytest.mark.parametrize("scheduler", ["fifo", "{ray: ASHAScheduler}"])
def test_what_has_no_effect_beside_the_scheduler_is_refused(tmp_path: Path, scheduler: str) -> None:
    path = write(tmp_path, f"screen: {{scheduler: {scheduler}, grace_epochs: 2}}")
    with pytest.raises(ConfigError, match=r"screen: grace_epochs has no effect .*grace_epochs=1"):
        study.read(path)
    sweep = study.read(path, ["screen.grace_epochs=1"])
    assert sweep.screen.grace_epochs == 1
    # As it is dumped it stands alone, and is the same.
    assert study.read(write(tmp_path, study.dump(sweep))) == sweep


def test_rays_own_is_named_with_its_arguments_beside_it(tmp_path: Path) -> None:
    text = """
    axes: {loss.adversarial: {uniform: [0.0, 1.0]}}
    screen: {scheduler: {ray: ASHAScheduler, grace_period: 2}}
    search: {ray: OptunaSearch, samples: 4, seed: 2, n_startup_trials: 3}
    callbacks: [{a.B: {c: 1}}]
    """
    sweep = study.read(write(tmp_path, text))
    assert isinstance(sweep.screen.scheduler, study.NativeConfig)
    assert sweep.screen.scheduler.arguments == {"grace_period": 2}
    assert (sweep.search.ray, sweep.search.samples) == ("OptunaSearch", 4)
    assert sweep.search.arguments == {"n_startup_trials": 3}
    assert sweep.callbacks == ({"a.B": {"c": 1}},)
    assert study.read(write(tmp_path, study.dump(sweep))) == sweep
    older = text.replace(
        "search: {ray: OptunaSearch,", "search: {kind: optuna, arguments: {n_startup_trials: 3},"
    ).replace("seed: 2, n_startup_trials: 3", "seed: 2")
    sweep = study.read(write(tmp_path, older))
    assert sweep.search.arguments == {"n_startup_trials": 3}
    assert study.read(write(tmp_path, study.dump(sweep))) == sweep
    with pytest.raises(ConfigError, match="seeds 2: Ray's schedulers would let the seeds"):
        study.build({"seeds": [1, 2], "screen": {"scheduler": {"ray": "X"}, "seeds": 2}})
