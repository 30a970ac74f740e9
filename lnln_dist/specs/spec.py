"""The contract of a model: what a spec says, and what its network does.

A network is an ``nn.Module`` with two verbs (``lnln_dist.types``): ``losses(batch) -> Losses`` in
training and ``predict(batch) -> Prediction`` in evaluation. Everything else (training, strategies,
checkpoints, sweeps, evaluation, cost) knows a model by its spec alone.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lnln_dist.config import LossConfig, ModelConfig
from lnln_dist.errors import ConfigError

# Of predictions.parquet, whatever the model; what a model tells stands in columns beside them.
PREDICTION_COLUMNS = frozenset(
    {"run", "id", "split", "protocol", "pattern", "rate", "noise_seed", "label", "prediction"}
    | {"erased_text", "erased_audio", "erased_vision", "checkpoint"}
)

# Setting -> the values that a recipe allows.
Promises = Mapping[str, tuple[object, ...]]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass over the training split, with an optimizer of its own.

    An epoch of ``train.order: alternating`` makes all passes of a model in turn; one of ``joint``
    makes a single one that trains everything.
    """

    name: str
    """In the log."""
    terms: tuple[str, ...]
    """Loss terms that are trained; the others are computed, shown and count nothing."""
    trains: tuple[str, ...] = ("",)
    """What the names of the trained parameters begin with."""
    spares: tuple[str, ...] = ()
    """What begins the names of those that keep their values all the same."""

    def takes(self, parameter: str) -> bool:
        """Whether it trains the parameter of that name."""
        return parameter.startswith(self.trains) and not parameter.startswith(self.spares)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model that ``model.name`` can choose."""

    config: type[ModelConfig]
    """Its settings, section ``model``: a frozen dataclass made with ``config.STRICT``."""
    loss: type[LossConfig]
    """The weights of its loss terms, section ``loss``: one field per name in ``Losses.terms``."""
    build: Callable[..., Any] | str
    """``build(config, encoder, shapes) -> network`` with the run's ``Config``, a ``TextEncoder``
    and ``InputShapes``; or where it is, as ``package.module:name``, to be imported when needed."""
    recipes: Mapping[str, Promises] = field(default_factory=lambda: {"paper": {}})
    """The recipes it can be trained by (``custom`` always is one), with what each asks of its own
    settings."""
    extras: tuple[str, ...] = ()
    """What ``predict`` reports beside the sentiment: one column of the results for each."""
    passes: tuple[Pass, ...] = ()
    """Those of ``train.order: alternating``, in their order; none where it can only be trained
    jointly."""
    teacher: str = ""
    """Its setting that names a run whose network training asks (``train/teacher.py``); the network
    finds it in its attribute ``teacher``, without which it has to work all the same."""
    memory: str = ""
    """Its module of buffers, made for ``InputShapes.rows`` training samples, whose contents
    ``types.Learner`` changes; checkpoints keep it, the best weights leave it out."""
    without_effect: tuple[str, ...] = ()
    """Settings or sections that it never reads: refused unless left at their defaults."""

    def builder(self) -> Callable[..., Any]:
        """``build``, imported."""
        return import_name(self.build) if isinstance(self.build, str) else self.build


def check_extras(names: Iterable[str], *, model: str) -> None:
    """Refuses extras that would take the place of a column of the results.

    Raises:
        ConfigError: names the model and them.
    """
    taken = sorted(PREDICTION_COLUMNS.intersection(names))
    if taken:
        raise ConfigError(
            f"{model}: what the network calls {', '.join(taken)} has the name of a column of the "
            "results: give it another one"
        )


def import_name(path: str) -> Any:
    """What ``package.module:name`` names.

    Raises:
        ConfigError: there is no such module, or nothing of that name in it.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as err:
        raise ConfigError(f"{path}: module {module} has no {name}") from err
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"{path} cannot be imported ({err}): start from the folder that holds it, or put that "
            "folder into PYTHONPATH"
        ) from err
    except (Exception, SystemExit) as err:  # whatever a user's module does; --debug shows where
        raise ConfigError(f"{path} cannot be imported ({type(err).__name__}: {err})") from err
