"""Networks, one module per model; ``models.text`` (which imports transformers) stands alone."""

from lnln_dist.models.contract import build_network
from lnln_dist.models.shapes import InputShapes

__all__ = ["InputShapes", "build_network"]
