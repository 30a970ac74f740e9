"""Settings of the token embedding that models share (``models.parts.Embedding``)."""

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Count, ModelConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EmbeddingConfig(ModelConfig):
    """Sizes of a modality's embedding into feature tokens."""

    width: Count = 128
    """Model width d."""
    tokens: Count = 8
    """Feature tokens per modality N."""
    heads: Count = 8
    """Attention heads H."""
    head_width: Count = 64
    """Width of one head; LNLN's hyper-modality attention alone has d / H instead."""
    embedding_depth: Count = 2
    """Layers of each modality's embedding."""

    @model_validator(mode="after")
    def _check_heads(self) -> "EmbeddingConfig":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide width {self.width}")
        return self
