"""Late fusion: every modality predicts by itself, the predictions are blended."""

from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, NotNegative
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.sentiment import BLIND_TO_COMPLETENESS, SentimentLoss
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LateFusionConfig(EmbeddingConfig):
    """LNLN's embedding of each modality, a linear head each, a learned blend of the three."""

    name: str = "late_fusion"
    """As for every model."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LateFusionLoss(SentimentLoss):
    """Weights of the two loss terms (no unit)."""

    unimodal: NotNegative = 1.0
    """Mean squared error of the heads' own predictions, the mean of the three."""


SPEC = ModelSpec(
    config=LateFusionConfig,
    loss=LateFusionLoss,
    build="lnln_dist.models.late_fusion:build",
    without_effect=BLIND_TO_COMPLETENESS,
)
