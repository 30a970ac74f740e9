"""TFN (Zadeh et al., EMNLP 2017, arXiv 1707.07250): settings."""

from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Count, ModelConfig
from lnln_dist.specs.sentiment import BLIND_TO_COMPLETENESS, Dropout, SentimentLoss
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TFNConfig(ModelConfig):
    """Widths as in the paper; the fusion tensor has (text + 1)(audio + 1)(vision + 1) entries."""

    name: str = "tfn"
    """As for every model."""
    text_width: Count = 128
    """Width of the text feature."""
    audio_width: Count = 32
    """Width of the audio feature."""
    vision_width: Count = 32
    """Width of the vision feature."""
    hidden: Count = 128
    """Width of the two layers after the fusion."""
    dropout: Dropout = 0.15
    """Share of each feature's mean input, and of the fusion tensor, that is dropped."""


SPEC = ModelSpec(
    config=TFNConfig,
    loss=SentimentLoss,
    build="lnln_dist.models.tfn:build",
    without_effect=BLIND_TO_COMPLETENESS,
)
