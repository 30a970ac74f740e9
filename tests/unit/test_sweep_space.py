"""Resolved settings: names, hashes, duplicates, order."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lnln_dist import settings
from lnln_dist.errors import ConfigError
from lnln_dist.sweep import space, study

WEIGHTS = {"loss.adversarial": {"grid": [0, 0.4, 0.8]}, "loss.reconstruction": {"grid": [0, 0.1]}}


def resolve(**raw: Any) -> space.Space:
    return space.resolve(space.freeze(study.build(raw)))


def test_every_combination_is_a_full_config_of_its_own() -> None:
    made = resolve(axes=WEIGHTS, seeds=[1, 2], settings={"train": {"epochs": 3}})
    assert len(made.settings) == len({s.key for s in made.settings}) == 6
    hashes = {
        settings.config_hash(made.config(s.values, seed)) for s in made.settings for seed in (1, 2)
    }
    assert len(hashes) == 12
    named = {s.name: s for s in made.settings}
    config = made.config(named["adversarial0.4_reconstruction0"].values, 2)
    assert (config.loss.adversarial, config.loss.reconstruction) == (0.4, 0.0)
    assert (config.train.seed, config.train.epochs, config.train.keep_checkpoints) == (2, 3, 1)
    assert named["adversarial0.4_reconstruction0"].trial(2) == "adversarial0.4_reconstruction0_s2"


def test_what_is_swept_is_known_by_its_settings() -> None:
    points = {"low": {"noise.maximum": 0.5}, "fixed": {"noise.mode": "fixed", "noise.rate": 0.5}}
    made = resolve(axes={**WEIGHTS, "noise": {"grid": points}})
    assert made.swept == (
        "loss.adversarial",
        "loss.reconstruction",
        "noise.maximum",
        "noise.mode",
        "noise.rate",
        "train.seed",
    )


def test_models_are_an_axis_and_each_has_its_own_settings(tmp_path: Path) -> None:
    (tmp_path / "lnln.yaml").write_text("model: {width: 64, fusion_depth: 2}")
    points = {
        "text": {"model.name": "text", "loss.sentiment": 2.0},
        "low": {"loss.adversarial": 0.1},
        "own": {"model.name": "own_model:SPEC", "model.hidden": 4},
    }
    made = resolve(config=[str(tmp_path / "lnln.yaml")], axes={"network": {"grid": points}})
    configs = {s.name: made.config(s.values, 1) for s in made.settings}
    text, low, own = (configs[f"network-{name}"] for name in ("text", "low", "own"))
    assert (text.model.name, text.model.width, text.loss.sentiment) == ("text", 64, 2.0)
    assert (low.model.name, low.model.fusion_depth, low.loss.adversarial) == ("lnln", 2, 0.1)
    assert (own.model.hidden, own.loss.size) == (4, 0.01)


def test_an_axis_back_to_a_model_finds_what_a_file_says_of_it(tmp_path: Path) -> None:
    (tmp_path / "lnln.yaml").write_text("model: {width: 64, fusion_depth: 2}")
    (tmp_path / "text.yaml").write_text("base: lnln.yaml\nmodel: {name: text}")
    axis = {"model.name": {"grid": ["lnln", "text"]}}
    made = resolve(config=[str(tmp_path / "text.yaml")], axes=axis)
    configs = {s.name: made.config(s.values, 1).model for s in made.settings}
    assert configs["name-lnln"].fusion_depth == 2
    assert configs["name-text"].width == configs["name-lnln"].width == 64
    alone = resolve(config=[str(tmp_path / "text.yaml")])
    assert alone.config({}, 1).model.name == "text"
    plain = resolve(axes={"model.name": {"grid": ["lnln", "text", "own_model:SPEC"]}})
    names = ["name-lnln", "name-own-model-SPEC", "name-text"]
    assert sorted(s.name for s in plain.settings) == names


def test_two_data_sets_of_one_name_do_not_compete() -> None:
    made = resolve(axes={"data.path": {"grid": ["/d/mosi/shards", "/d/mosei/shards"]}, **WEIGHTS})
    assert len(made.strata) == 2
    by_stratum = {s.stratum: s.data for s in made.settings}
    assert set(by_stratum) == set(made.strata)
    assert set(by_stratum.values()) == {"/d/mosi/shards", "/d/mosei/shards"}


def test_settings_that_compute_the_same_are_dropped() -> None:
    made = resolve(
        axes={"loss.adversarial": {"grid": [0.8, 0.1]}, "train.log_steps": {"grid": [1, 2]}}
    )
    assert len(made.settings) == 2
    assert len(made.dropped) == 2
    assert all("log_steps2" in name for name in made.dropped)
    # A sampler may propose it again and again: it is named once.
    assert made.add({"loss.adversarial": 0.8, "train.log_steps": 2}) is None
    assert len(made.dropped) == 2


def test_names_that_look_alike_or_are_long_stay_different() -> None:
    rates = [round(0.01 * i, 2) for i in range(60)]
    for axis in ({"optim.lr": [0.12345678, 0.12345679]}, {"select.rates": [rates, rates[:-1]]}):
        made = resolve(axes={name: {"grid": values} for name, values in axis.items()})
        assert len({s.name for s in made.settings}) == 2
        assert all(len(s.name) <= space.LONGEST_NAME for s in made.settings)


def test_the_order_is_shuffled_by_the_seed_and_the_same_each_time() -> None:
    def names(**search: Any) -> list[str]:
        return [s.name for s in resolve(axes=WEIGHTS, search=search).settings]

    assert names() == names()
    assert names() != sorted(names())
    assert names() != names(seed=1)
    assert sorted(names()) == sorted(names(seed=1))


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("data.path", "data", "HERE/data"),
        ("data.path", "link", "HERE/link"),  # what it leads to may have another name elsewhere
        ("data.path", "file:///x", "file:///x"),
        ("model.encoder.name", "bert", "HERE/bert"),
        ("model.encoder.name", "bert-base", "bert-base"),  # of the hub
        ("model.classifier", "runs/text", "HERE/runs/text"),
        ("model.classifier", "", ""),
    ],
)
def test_a_path_becomes_absolute_and_any_other_name_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, given: str, expected: str
) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "bert")
    monkeypatch.chdir(tmp_path)
    for made in (resolve(settings={key: given}), resolve(axes={key: {"grid": [given]}})):
        (one,) = made.settings
        flat = settings.flatten(settings.to_dict(made.config(one.values, 1)))
        assert flat[key] == expected.replace("HERE", str(tmp_path))


def test_config_files_are_merged_in(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("train: {epochs: 7, batch_size: 8}")
    raw = {"config": [str(tmp_path / "base.yaml")], "settings": {"train.epochs": 5}}
    frozen = space.freeze(study.build(raw))
    assert frozen.config == ()
    assert frozen.settings == {"train": {"epochs": 5, "batch_size": 8}}


def test_what_a_sweep_sets_itself_is_left_out_of_the_training_config(tmp_path: Path) -> None:
    """Else a resolved sweep, which has it under settings, would be refused."""
    (tmp_path / "base.yaml").write_text("train: {epochs: 7, seed: 3, keep_checkpoints: 5}")
    frozen = space.freeze(study.build({"config": [str(tmp_path / "base.yaml")]}))
    assert frozen.settings == {"train": {"epochs": 7}}
    (tmp_path / "alone.yaml").write_text(study.dump(frozen))
    assert space.freeze(study.read(tmp_path / "alone.yaml")) == frozen


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"settings": {"train": {"epoch": 3}}}, "settings.train.epoch: unknown key"),
        ({"settings": {"train.seed": 3}}, "settings.train.seed: .* list them under seeds"),
        ({"settings": {"train": {"keep_checkpoints": 3}}}, "train.keep_checkpoints: .*leave it"),
        ({"axes": {"loss.adversarial": {"grid": [1, -1]}}}, "setting adversarial-1: loss.adv"),
        ({"axes": {"train.epochs": {"grid": [2.5]}}}, "setting epochs2.5: train.epochs"),
        ({"axes": {"model.name": {"grid": ["lnln", "txt"]}}}, "there is no model 'txt'"),
        ({"axes": {"model.hidden": {"grid": [1, 2]}}}, "model.hidden: unknown key of model lnln"),
        (
            {"axes": {"model.name": {"grid": ["lnln", "text"]}, **WEIGHTS}},
            "setting name-text.*: loss.adversarial: unknown key of model text",
        ),
        (
            {"settings": {"train": {"epochs": 9}}, "axes": WEIGHTS, "screen": {"brackets": 3}},
            r"screen.brackets 3: .* before epoch 9 of 9",
        ),
        ({"screen": {"epochs": 201}}, "screen.epochs 201 exceeds train.epochs 200"),
        (
            {"screen": {"epochs": 2, "grace_epochs": 3}},
            "grace_epochs 3 exceeds the epochs of screening, 2",
        ),
        (
            {"settings": {"recipe": "custom", "select.split": "test"}, "axes": WEIGHTS},
            "must not choose by the test split",
        ),
    ],
)
def test_mistakes_are_named_before_anything_runs(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(**raw)


def test_the_last_bracket_may_decide_before_the_end() -> None:
    resolve(settings={"train": {"epochs": 10}}, axes=WEIGHTS, screen={"brackets": 3})


def test_a_choice_of_nothing_may_look_at_the_test_split() -> None:
    made = resolve(settings={"recipe": "custom", "select.split": "test"}, seeds=[1, 2])
    assert len(made.settings) == 1


def test_neither_torch_nor_ray_is_imported() -> None:
    code = (
        "import sys; import lnln_dist.sweep.state; "
        "print([m for m in ('torch', 'ray', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
