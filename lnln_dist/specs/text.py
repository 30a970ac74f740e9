"""Text alone: what the other modalities have to beat."""

from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, LossConfig, NotNegative
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TextConfig(EmbeddingConfig):
    """Text encoder, LNLN's text embedding, the mean of its tokens, a linear head."""

    name: str = "text"
    """As for every model."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TextLoss(LossConfig):
    """Weight of the one loss term (no unit)."""

    sentiment: NotNegative = 1.0
    """Mean squared error of the sentiment."""


SPEC = ModelSpec(
    config=TextConfig,
    loss=TextLoss,
    build="lnln_dist.models.text_only:build",
    without_effect=("noise.completeness", "noise.audio", "noise.vision"),
)
