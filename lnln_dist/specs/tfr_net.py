"""TFR-Net (Yuan, Li, Xu, Yu, ACM MM 2021, doi 10.1145/3474085.3475585): settings, loss weights."""

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Count, ModelConfig, NotNegative
from lnln_dist.specs.sentiment import BLIND_TO_COMPLETENESS, Dropout, SentimentLoss
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TFRNetConfig(ModelConfig):
    """Sizes; the defaults are the released code's for MOSI."""

    name: str = "tfr_net"
    """As for every model."""
    width: Count = 30
    """Width of each stream; an even number."""
    heads: Count = 6
    """Attention heads."""
    depth: Count = 3
    """Layers of every transformer."""
    text_feature: Count = 36
    """Width of the text's gated feature."""
    audio_feature: Count = 20
    """Width of the audio's gated feature."""
    vision_feature: Count = 48
    """Width of the vision's gated feature."""
    gate_depth: Count = 3
    """Layers of the recurrent network that the gates read."""
    hidden: Count = 128
    """Width of the layer before the output."""
    dropout: Dropout = 0.2
    """Share dropped of the streams, of what each layer adds, and of the gated features."""

    @model_validator(mode="after")
    def _check_sizes(self) -> "TFRNetConfig":
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"heads {self.heads} and 2 must divide width {self.width}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TFRNetLoss(SentimentLoss):
    """Weights of the four loss terms (no unit); the released code's for MOSI."""

    text: NotNegative = 5.0
    """Smooth absolute error of the rebuilt token vectors, where the text is erased."""
    audio: NotNegative = 2.0
    """The same of the audio frames."""
    vision: NotNegative = 20.0
    """The same of the vision frames."""


SPEC = ModelSpec(
    config=TFRNetConfig,
    loss=TFRNetLoss,
    build="lnln_dist.models.tfr_net:build",
    without_effect=BLIND_TO_COMPLETENESS,
)
