"""The libraries of the extra ``clips``, imported when a clip is first opened."""

import importlib
from typing import Any

from lnln_dist.errors import UserError


def library(name: str) -> Any:
    """A module of the extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise UserError(
            f"raw clips need {name} ({err}): pip install 'lnln-dist[clips]', or from a checkout "
            "bash launch/install.sh clips"
        ) from err
