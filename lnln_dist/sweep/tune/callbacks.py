"""Callbacks by import path that a sweep's YAML names, and Tune's own loggers."""

import importlib
from typing import Any

from lnln_dist.errors import ConfigError, one_line
from lnln_dist.sweep.study import SweepConfig

LOGGERS = {
    "csv": "CSVLoggerCallback",
    "json": "JsonLoggerCallback",
    "tensorboard": "TBXLoggerCallback",
}


def build(sweep: SweepConfig) -> list[Any]:
    """Those that the sweep names, and Tune's own loggers.

    Raises:
        ConfigError: there is no such callback, or it cannot be made so.
    """
    from ray import tune
    from ray.tune import logger

    made = [getattr(logger, LOGGERS[name])() for name in sweep.loggers]
    for item in sweep.callbacks:
        ((path, given),) = item.items()
        module, _, name = path.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), name)
        except (Exception, SystemExit) as err:  # whatever a module of somebody else's raises
            raise ConfigError(f"callbacks: {path} cannot be imported ({one_line(err)})") from err
        try:
            made.append(kind(**given))
        except (Exception, SystemExit) as err:
            raise ConfigError(f"callbacks: {path}: {one_line(err)}") from err
        if not isinstance(made[-1], tune.Callback):
            raise ConfigError(f"callbacks: {path} makes no callback of Tune's (ray.tune.Callback)")
    return made
