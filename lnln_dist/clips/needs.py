"""The libraries of the extras ``clips`` and ``speech``, imported when a clip is first opened."""

import importlib
from typing import Any

from lnln_dist.errors import UserError, install

CLIPS, SPEECH = "clips", "speech"  # extras


def library(name: str, extra: str = CLIPS) -> Any:
    """A module of an extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise UserError(missing(name, extra, f" ({err})")) from err


def missing(name: str, extra: str, why: str = "") -> str:
    """What to say of a module that is not installed."""
    use = "raw clips need" if extra == CLIPS else "this needs"
    return f"{use} {name}{why}: {install(extra)}"
