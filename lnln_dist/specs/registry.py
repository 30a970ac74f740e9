"""The models by name, and the class of settings that a run of each has."""

import functools
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Config
from lnln_dist.errors import ConfigError
from lnln_dist.specs.spec import ModelSpec, Pass, check_extras, import_name

DEFAULT = "lnln"
MODELS = {
    "lnln": "lnln_dist.specs.lnln:SPEC",
    "text": "lnln_dist.specs.text:SPEC",
    "late_fusion": "lnln_dist.specs.late_fusion:SPEC",
    "almt": "lnln_dist.specs.almt:SPEC",
    "tfn": "lnln_dist.specs.tfn:SPEC",
    "mult": "lnln_dist.specs.mult:SPEC",
    "prmf": "lnln_dist.specs.prmf:SPEC",
}


@functools.cache
def find_spec(name: str) -> ModelSpec:
    """The spec of a model of ours, or of a user's as ``package.module:SPEC``.

    A user's module is imported from the Python path and the folder the program was started in,
    never from a run folder.

    Raises:
        ConfigError: no such model, what is named is not a spec, or an extra is named as a column.
    """
    module, colon, spec_name = name.partition(":")
    if name not in MODELS and not (module and colon and spec_name):
        raise ConfigError(
            f"model.name: there is no model {name!r}; choose one of {', '.join(MODELS)}, or name "
            "your own as package.module:SPEC"
        )
    here = str(Path.cwd())
    if name not in MODELS and here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # as `python -m` does; a console script does not
    try:
        spec = import_name(MODELS.get(name, name))
    except ConfigError as err:
        raise ConfigError(f"model.name: {err}") from err
    if not isinstance(spec, ModelSpec):
        raise ConfigError(f"model.name: {name} is a {type(spec).__name__}, not a ModelSpec")
    check_extras(spec.extras, model=f"model.name: {name}")
    return spec


def is_own(name: str) -> bool:
    """Whether a model is a user's, whose code may do anything."""
    return name not in MODELS


@functools.cache
def config_class(name: str = DEFAULT) -> type[Config]:
    """``Config`` with the sections ``model`` and ``loss`` of one model.

    Raises:
        ConfigError: as ``find_spec``.
    """
    spec = find_spec(name)

    @dataclass(frozen=True, kw_only=True, config=STRICT)
    class RunConfig(Config):
        """Settings of a run; those of model and loss belong to the model (--model.name)."""

        model: spec.config = spec.config(name=name)  # type: ignore[name-defined]
        loss: spec.loss = spec.loss()  # type: ignore[name-defined]

    return RunConfig


def make_config(name: str = DEFAULT, **sections: Any) -> Config:
    """The settings of a run of one model, defaults where no section is given."""
    return config_class(name)(**sections)


def loss_weights(loss: Any) -> dict[str, float]:
    """The weights of a section ``loss`` by the name of their term."""
    return {field.name: getattr(loss, field.name) for field in fields(loss)}


def passes_of(config: Config) -> tuple[Pass, ...]:
    """The passes over the training split that an epoch makes; one that trains all if jointly.

    Raises:
        ConfigError: ``train.order`` asks for what the model does not have, or one of its passes has
            nothing to train on.
    """
    weights = loss_weights(config.loss)
    if config.train.order == "joint":
        return (Pass(name="joint", terms=tuple(weights)),)
    passes = find_spec(config.model.name).passes
    if not passes:
        able = ", ".join(name for name in MODELS if find_spec(name).passes)
        raise ConfigError(
            f"train.order: model {config.model.name} has one pass only, alternating is for {able}"
        )
    for one in passes:
        if not any(weights[term] for term in one.terms):
            raise ConfigError(
                f"train.order: pass {one.name} trains nothing: give loss."
                f"{' or loss.'.join(one.terms)} a weight, or use joint"
            )
    return passes
