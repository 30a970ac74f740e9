"""A protocol's name is not put on what does not follow it."""

from dataclasses import replace
from pathlib import Path

import pytest

from lnln_dist import settings
from lnln_dist.config import Config, SelectConfig, TaskConfig
from lnln_dist.errors import ConfigError
from lnln_dist.recipes import PROMISES, check_recipe
from lnln_dist.specs.lnln import LNLNConfig
from lnln_dist.specs.registry import MODELS, find_spec, make_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("[!s]*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_are_what_they_are_called(path: Path) -> None:
    check_recipe(settings.build(settings.read_config(path)))


def test_the_default_is_the_papers() -> None:
    check_recipe(make_config())


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (make_config(recipe="official"), "select.split is 'valid', not 'test'.*official.yaml"),
        (
            make_config(model=LNLNConfig(reversal="proxy")),
            "recipe paper: model.reversal is 'proxy'",
        ),
        (make_config(select=SelectConfig(split="test")), "recipe paper: select.split is 'test'"),
        (
            make_config(recipe="official", task=TaskConfig(kind="three-class", decision="argmax")),
            "recipe official: task.kind is 'three-class', not 'regression'",
        ),
    ],
)
def test_a_wrong_name_is_refused_and_custom_is_the_way_out(config: Config, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"{named}.*recipe: custom"):
        check_recipe(config)
    check_recipe(replace(config, recipe="custom"))


def test_a_recipe_that_a_model_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="official is not one of model text: choose of custom, p"):
        check_recipe(make_config("text", recipe="official"))
    check_recipe(make_config("text"))
    check_recipe(make_config("text", recipe="custom"))


@pytest.mark.parametrize("model", MODELS)
def test_promises_are_about_settings(model: str) -> None:
    own = find_spec(model).recipes
    asked = [*PROMISES.values(), *own.values()]
    assert set().union(*asked) <= set(settings.leaf_keys(model))
    assert own.keys() <= PROMISES.keys()
