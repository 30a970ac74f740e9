"""LNLN and its parts; ``models.text`` (which imports transformers) is imported on its own."""

from lnln_dist.models.lnln import LNLN, REBUILT
from lnln_dist.models.shapes import InputShapes

__all__ = ["LNLN", "REBUILT", "InputShapes"]
