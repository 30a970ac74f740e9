"""ALMT (Zhang et al., EMNLP 2023, arXiv 2310.05804), LNLN's parent: settings."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Count
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.sentiment import BLIND_TO_COMPLETENESS, SentimentLoss
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ALMTConfig(EmbeddingConfig):
    """Sizes; the defaults are the released code's for MOSI."""

    name: str = "almt"
    """As for every model."""
    embedding_depth: Count = 1
    """Layers of each modality's embedding."""
    hyper_depth: Annotated[int, Field(ge=2)] = 3
    """Hyper-modality layers; the language encoder has one layer less."""
    fusion_depth: Count = 2
    """Layers of the fusion."""


SPEC = ModelSpec(
    config=ALMTConfig,
    loss=SentimentLoss,
    build="lnln_dist.models.almt:build",
    without_effect=BLIND_TO_COMPLETENESS,
)
