"""A protocol's name is not put on what does not follow it."""

from dataclasses import replace
from pathlib import Path

import pytest

from lnln_dist import settings
from lnln_dist.config import Config, ModelConfig, SelectConfig
from lnln_dist.errors import ConfigError
from lnln_dist.recipes import PROMISES, check_recipe

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("[!s]*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_are_what_they_are_called(path: Path) -> None:
    check_recipe(settings.build(settings.read_config(path)))


def test_the_default_is_the_papers() -> None:
    check_recipe(Config())


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (Config(recipe="official"), "select.split is 'valid', not 'test'.*official.yaml"),
        (Config(model=ModelConfig(reversal="proxy")), "recipe paper: model.reversal is 'proxy'"),
        (Config(select=SelectConfig(split="test")), "recipe paper: select.split is 'test'"),
    ],
)
def test_a_wrong_name_is_refused_and_custom_is_the_way_out(config: Config, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"{named}.*recipe: custom"):
        check_recipe(config)
    check_recipe(replace(config, recipe="custom"))


def test_promises_are_about_settings() -> None:
    assert set().union(*PROMISES.values()) <= set(settings.leaf_keys())
