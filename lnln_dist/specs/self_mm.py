"""Self-MM (Yu, Xu, Yuan, Wu, AAAI 2021, arXiv 2102.04830): settings, loss weights."""

from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Count, LossConfig, ModelConfig, NotNegative
from lnln_dist.specs.sentiment import BLIND_TO_COMPLETENESS, Dropout
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SelfMMConfig(ModelConfig):
    """Sizes; the defaults are the released code's for MOSI."""

    name: str = "self_mm"
    """As for every model."""
    audio_hidden: Count = 32
    """Width of the audio's LSTM."""
    vision_hidden: Count = 64
    """Width of the vision's LSTM."""
    audio_width: Count = 16
    """Width of what the audio's LSTM passes on."""
    vision_width: Count = 32
    """Width of what the vision's LSTM passes on."""
    fused_feature: Count = 128
    """Width of the feature of all modalities."""
    text_feature: Count = 64
    """Width of the text's own feature."""
    audio_feature: Count = 16
    """Width of the audio's own feature."""
    vision_feature: Count = 32
    """Width of the vision's own feature."""
    dropout: Dropout = 0.1
    """Share dropped of what each of the four features is made of."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SelfMMLoss(LossConfig):
    """Weights of the four loss terms (no unit); the paper's."""

    sentiment: NotNegative = 1.0
    """Mean absolute error of the sentiment."""
    text: NotNegative = 1.0
    """Mean absolute error of the text's own label, weighted by how far it is from the sentiment."""
    audio: NotNegative = 1.0
    """The same of the audio."""
    vision: NotNegative = 1.0
    """The same of the vision."""


SPEC = ModelSpec(
    config=SelfMMConfig,
    loss=SelfMMLoss,
    build="lnln_dist.models.self_mm:build",
    memory="memory",
    without_effect=BLIND_TO_COMPLETENESS,
)
