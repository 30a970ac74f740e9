"""P-RMF (ACL 2025): settings, loss weights, and the defects of the released code as switches."""

from typing import Literal

from pydantic.dataclasses import dataclass

from lnln_dist.config import STRICT, Count, NotNegative
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.sentiment import BLIND_TO_COMPLETENESS, Dropout, SentimentLoss
from lnln_dist.specs.spec import ModelSpec


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PRMFConfig(EmbeddingConfig):
    """P-RMF: sizes, and what the released code gets wrong; the defaults are right."""

    name: str = "prmf"
    """As for every model."""
    vae_depth: Count = 2
    """Layers of each variational encoder and decoder."""
    reconstructor_depth: Count = 2
    """Layers of each reconstructor."""
    fusion_rounds: Count = 4
    """Times that the proxy reads the three modalities."""
    dropout: Dropout = 0.5
    """Share dropped in the fusion and before the output."""
    share_rounds: bool = True
    """One layer for all rounds (released code); false has a layer per round."""
    train_reconstructors: bool = True
    """False leaves them at random, as no optimizer knows them (released code)."""
    blend: Literal["softmax", "exponential"] = "softmax"
    """How 1/sigma becomes shares; exponential divides exponentials, which overflow (code)."""
    reverse_proxy: bool = False
    """Turn the gradient's sign on the proxy, the sentiment's too (released code)."""
    mask_padding: bool = True
    """Ignore padded places in attention; false attends to them (released code)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PRMFLoss(SentimentLoss):
    """Weights of the three loss terms (no unit)."""

    reconstruction: NotNegative = 0.1
    """Mean squared error of the rebuilt embeddings."""
    variational: NotNegative = 0.5
    """Errors and divergences of the three variational autoencoders, a third of their sum."""


SPEC = ModelSpec(
    config=PRMFConfig,
    loss=PRMFLoss,
    build="lnln_dist.models.prmf:build",
    recipes={
        "paper": {
            "model.train_reconstructors": (True,),
            "model.blend": ("softmax",),
            "model.reverse_proxy": (False,),
            "model.mask_padding": (True,),
        },
        "official": {
            "model.share_rounds": (True,),
            "model.train_reconstructors": (False,),
            "model.blend": ("exponential",),
            "model.reverse_proxy": (True,),
            "model.mask_padding": (False,),
            "optim.clip_norm": (1.0,),  # unlike LNLN's code
        },
    },
    without_effect=BLIND_TO_COMPLETENESS,
)
