"""Text alone: what the other modalities have to beat."""

from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.sentiment import BLIND_TO_COMPLETENESS, SentimentLoss
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TextConfig(EmbeddingConfig):
    """Text encoder, LNLN's text embedding, the mean of its tokens, a linear head."""

    name: str = "text"
    """As for every model."""


SPEC = ModelSpec(
    config=TextConfig,
    loss=SentimentLoss,
    build="lnln_dist.models.text_only:build",
    without_effect=(*BLIND_TO_COMPLETENESS, "noise.audio", "noise.vision"),
)
