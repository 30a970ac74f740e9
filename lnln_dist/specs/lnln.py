"""LNLN (Zhang, Wang, Yu, NeurIPS 2024, arXiv 2409.20012): settings, loss weights, recipes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Count, LossConfig, NotNegative
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.spec import ModelSpec, Pass


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LNLNConfig(EmbeddingConfig):
    """LNLN: sizes, and the places where the paper and the released code differ."""

    completeness_depth: Count = 2
    """Layers of the completeness check."""
    proxy_depth: Count = 2
    """Layers of the proxy generator."""
    reconstructor_depth: Count = 2
    """Layers of each reconstructor."""
    hyper_depth: Annotated[int, Field(ge=2)] = 3
    """Hyper-modality layers; the dominant encoder has one layer less."""
    fusion_depth: Count = 4
    """Layers of the fusion (released code: 2 on MOSI)."""
    reversal: Literal["discriminator", "proxy"] = "discriminator"
    """Gradient reversal before the discriminator (paper), or on the proxy before mixing (code)."""
    discriminator_input: Literal["proxy", "corrected"] = "proxy"
    """What the discriminator judges: h_p (paper) or h_d (code)."""
    correction: Literal["predicted", "counted", "none"] = "predicted"
    """Weight of the text in the correction: the completeness check's output, the counted share, or
    1, so that nothing is corrected (the paper's ablation without DMC)."""
    detach_completeness: bool = False
    """Stop gradients through the correction's weight: the check learns from its label alone."""
    classifier: str = ""
    """Run of model text, trained on whole texts, whose probability of a sample's true polarity is
    the label of the completeness check; empty: `noise.completeness` is."""
    mask_padding: bool = True
    """Ignore padded places in attention; false attends to them (released code)."""
    detach_target: bool = False
    """Stop gradients through the reconstruction target."""

    @model_validator(mode="after")
    def _check_detached(self) -> "LNLNConfig":
        if self.detach_completeness and self.correction != "predicted":
            raise ValueError(
                f"detach_completeness has no effect with correction {self.correction}: drop it"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LNLNLoss(LossConfig):
    """Weights of the four loss terms (no unit)."""

    completeness: NotNegative = 0.9
    """alpha, mean squared error of the predicted completeness."""
    adversarial: NotNegative = 0.8
    """beta, cross entropy of the discriminator."""
    reconstruction: NotNegative = 0.1
    """gamma, mean squared error of the rebuilt embeddings."""
    sentiment: NotNegative = 1.0
    """delta, mean squared error of the sentiment."""


SPEC = ModelSpec(
    config=LNLNConfig,
    loss=LNLNLoss,
    build="lnln_dist.models.lnln:build",
    recipes={
        "paper": {
            "model.mask_padding": (True,),
            "model.reversal": ("discriminator",),
            "model.discriminator_input": ("proxy",),
        },
        "official": {
            "model.mask_padding": (False,),
            "model.reversal": ("proxy",),
            "model.discriminator_input": ("corrected",),
        },
    },
    extras=("completeness",),
    teacher="classifier",
    # As TCMR alternates: first the check with all that it reads, then the rest around it.
    passes=(
        Pass(
            name="check",
            terms=("completeness",),
            trains=("completeness.", "embed.text.", "text_encoder."),
        ),
        Pass(
            name="rest",
            terms=("adversarial", "reconstruction", "sentiment"),
            spares=("completeness.",),
        ),
    ),
)
