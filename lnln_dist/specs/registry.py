"""The models by name, and the class of settings that a run of each has."""

import contextlib
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import MISSING, fields, is_dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError
from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Config, LossConfig, ModelConfig
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
    "tfr_net": "lnln_dist.specs.tfr_net:SPEC",
    "self_mm": "lnln_dist.specs.self_mm:SPEC",
}


_NAMED_IN: ContextVar[Path | None] = ContextVar("_NAMED_IN", default=None)


@contextlib.contextmanager
def named_in(folder: Path) -> Iterator[None]:
    """While a run or an exported model is read: none of its own files is imported as its model.

    It may be a stranger's, and modules are looked for where the program was started: beside such a
    folder it is a namespace package, inside it every file is a module.
    """
    token = _NAMED_IN.set(folder)
    try:
        yield
    finally:
        _NAMED_IN.reset(token)


def _refuse_carried(name: str, folder: Path) -> None:
    inside, here = folder.resolve(), Path.cwd().resolve()
    if here.is_relative_to(inside):
        raise ConfigError(
            f"model.name: {name}: started inside {folder}, whose code would be run: start elsewhere"
        )
    path = [*sys.path, str(here)]
    for part in name.partition(":")[0].split("."):
        found = PathFinder.find_spec(part, path)  # without the parents, which would be imported
        if found is None:
            return
        path = list(found.submodule_search_locations or [])
        if any(Path(p).resolve().is_relative_to(inside) for p in (*path, found.origin) if p):
            raise ConfigError(
                f"model.name: {name} is code inside {folder}, which names it: not run; put a "
                "module that you trust elsewhere, on PYTHONPATH"
            )


@functools.cache
def find_spec(name: str) -> ModelSpec:
    """The spec of a model of ours, or of a user's as ``package.module:SPEC``.

    A user's module is imported from the Python path and the folder the program was started in,
    never from the run folder that names it (``named_in``).

    Raises:
        ConfigError: no such model, what is named is not a spec, or an extra is named as a column.
    """
    module, colon, spec_name = name.partition(":")
    if name not in MODELS and not (module and colon and spec_name):
        raise ConfigError(
            f"model.name: there is no model {name!r}; choose one of {', '.join(MODELS)}, or name "
            "your own as package.module:SPEC"
        )
    folder = _NAMED_IN.get()
    if name not in MODELS and folder is not None:
        _refuse_carried(name, folder)
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
def code_sha256(name: str) -> str | None:
    """Of the files that a user's spec, its settings and its network are written in.

    None for a model of ours, whose code the version of this package names. What those files import
    is not looked at.
    """
    if not is_own(name):
        return None
    spec = find_spec(name)
    modules = {name.partition(":")[0], spec.config.__module__, spec.loss.__module__}
    if isinstance(spec.build, str):
        modules.add(spec.build.partition(":")[0])
    else:  # or what a functools.partial holds
        modules.add(getattr(spec.build, "func", spec.build).__module__)
    found = hashlib.sha256()
    for module in sorted(m for m in modules if not m.startswith("lnln_dist.")):
        file = _file_of(module)
        found.update(Path(file).read_bytes() if file else module.encode())
    return found.hexdigest()


def _file_of(module: str) -> str | None:
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    try:  # not imported for this: where the network is written needs torch
        known = importlib.util.find_spec(module)
    except ImportError:
        return None
    return known.origin if known else None


@functools.cache
def config_class(name: str = DEFAULT) -> type[Config]:
    """``Config`` with the sections ``model`` and ``loss`` of one model.

    Raises:
        ConfigError: as ``find_spec``.
    """
    spec = find_spec(name)
    at = f"model.name: {name}:"
    _check_sections(spec, at)

    @dataclass(frozen=True, kw_only=True, config=STRICT)
    class RunConfig(Config):
        """Settings of a run; those of model and loss belong to the model (--model.name)."""

        model: spec.config = spec.config(name=name)  # type: ignore[name-defined]
        loss: spec.loss = spec.loss()  # type: ignore[name-defined]

    _check_names(spec, at, tuple(_leaf_keys(RunConfig)))
    return RunConfig


def _check_sections(spec: ModelSpec, at: str) -> None:
    """Refuses classes of settings that could not be read, checked or left at their defaults."""
    for what, kind, base in (("config", spec.config, ModelConfig), ("loss", spec.loss, LossConfig)):
        if not (isinstance(kind, type) and issubclass(kind, base)):
            raise ConfigError(f"{at} {what} has to be a class over {base.__name__}, not {kind!r}")
        if "__pydantic_validator__" not in vars(kind):
            raise ConfigError(
                f"{at} {kind.__name__} has to be made with @dataclass(frozen=True, kw_only=True, "
                "config=STRICT) of pydantic.dataclasses, STRICT being that of lnln_dist.config"
            )
        lacking = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
        if lacking:
            raise ConfigError(
                f"{at} {', '.join(lacking)} of {kind.__name__} has no default: give it one"
            )
    try:
        for kind in (spec.config, spec.loss):
            kind()
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"])) or first["msg"]
        raise ConfigError(f"{at} a default is not allowed: {where}: {first['msg']}") from err


def _check_names(spec: ModelSpec, at: str, known: tuple[str, ...]) -> None:
    """Refuses recipes that no run can have, and settings that are none."""
    recipes = get_args(get_type_hints(Config)["recipe"])
    for recipe, promised in spec.recipes.items():
        if recipe not in recipes:
            raise ConfigError(f"{at} there is no recipe {recipe!r}: take one of {recipes}")
        for key in promised:
            if key not in known:
                raise ConfigError(f"{at} recipe {recipe}: there is no setting {key}")
    for key in spec.without_effect:
        if not any(f"{name}.".startswith(f"{key}.") for name in known):
            raise ConfigError(f"{at} without_effect: there is no setting or section {key}")


@functools.cache
def leaf_keys(model: str = DEFAULT) -> tuple[str, ...]:
    """Dotted names of all settings of one model's runs."""
    return tuple(_leaf_keys(config_class(model)))


def _leaf_keys(kind: Any, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        name, inner = f"{prefix}{field.name}", hints[field.name]
        yield from _leaf_keys(inner, f"{name}.") if is_dataclass(inner) else (name,)


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
