"""Callbacks by import path that a sweep's YAML names, and Tune's own loggers."""

import importlib
from typing import Any

from lnln_dist.errors import ConfigError
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
    from ray.tune import logger

    made = [getattr(logger, LOGGERS[name])() for name in sweep.loggers]
    for item in sweep.callbacks:
        ((path, given),) = item.items()
        module, _, name = path.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as err:
            raise ConfigError(f"callbacks: {path} cannot be imported ({err})") from err
        try:
            made.append(kind(**given))
        except Exception as err:  # whatever a callback of somebody else's raises
            raise ConfigError(f"callbacks: {path}: {' '.join(str(err).split())}") from err
    return made
