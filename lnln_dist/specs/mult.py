"""MulT (Tsai et al., ACL 2019, arXiv 1906.00295): settings."""

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Count, ModelConfig
from lnln_dist.specs.sentiment import BLIND_TO_COMPLETENESS, Dropout, SentimentLoss
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MulTConfig(ModelConfig):
    """Sizes; the released code has depth 5, heads 5, width 30, kernel 1."""

    name: str = "mult"
    """As for every model."""
    width: Count = 40
    """Width of each stream; an even number."""
    heads: Count = 8
    """Attention heads."""
    depth: Count = 4
    """Layers of each of the six cross-modal transformers."""
    memory_depth: Count = 3
    """Layers of the transformer over each modality's two results."""
    kernel: Count = 1
    """Places that the convolution in front sees; an odd number."""
    dropout: Dropout = 0.1
    """Share dropped of the streams, of what each layer adds, and before the output."""

    @model_validator(mode="after")
    def _check_sizes(self) -> "MulTConfig":
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"heads {self.heads} and 2 must divide width {self.width}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd")
        return self


SPEC = ModelSpec(
    config=MulTConfig,
    loss=SentimentLoss,
    build="lnln_dist.models.mult:build",
    without_effect=BLIND_TO_COMPLETENESS,
)
