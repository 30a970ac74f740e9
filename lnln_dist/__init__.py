"""Robust multimodal sentiment analysis with incomplete data: train, sweep, evaluate.

``lnln_dist.load(folder).predict(text=..., audio=..., vision=...)`` predicts with a trained model
(``lnln_dist.share.model``). Importing the package stays light: no torch, transformers, deepspeed
or ray before that.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
_LAZY = {"load": "lnln_dist.share.model", "Model": "lnln_dist.share.model"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
