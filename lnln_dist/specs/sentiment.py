"""What the models share that are trained on the sentiment alone."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, LossConfig, NotNegative

Dropout = Annotated[float, Field(ge=0, lt=1)]
BLIND_TO_COMPLETENESS = ("noise.completeness",)  # a setting that only LNLN's check reads


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SentimentLoss(LossConfig):
    """Weight of the one loss term (no unit)."""

    sentiment: NotNegative = 1.0
    """Mean squared error of the sentiment."""
