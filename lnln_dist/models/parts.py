"""The named parts of LNLN that are made of transformer layers; shape letters as in ``types``."""

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn

from lnln_dist.models.layers import Block, Encoder, TokenTransformer
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.lnln import LNLNConfig

LEAK = 0.1  # slope of the leaky ReLU in both small heads


def plain_encoder(config: EmbeddingConfig, *, depth: int) -> Encoder:
    """An encoder over the N feature tokens."""
    return Encoder(
        length=config.tokens,
        depth=depth,
        width=config.width,
        heads=config.heads,
        head_width=config.head_width,
    )


def _token_transformer(
    config: EmbeddingConfig, *, length: int, tokens: int, depth: int
) -> TokenTransformer:
    return TokenTransformer(
        length=length,
        tokens=tokens,
        depth=depth,
        width=config.width,
        heads=config.heads,
        head_width=config.head_width,
    )


def small_head(width: int, outputs: int) -> nn.Sequential:
    """Two layers with a leaky ReLU between them, per token."""
    hidden = width // 2
    return nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(LEAK), nn.Linear(hidden, outputs))


class Embedding(nn.Module):
    """Brings one modality's sequence to N feature tokens of the model's width."""

    def __init__(self, config: EmbeddingConfig, *, width: int, length: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, config.width)
        self.transformer = _token_transformer(
            config, length=length, tokens=config.tokens, depth=config.embedding_depth
        )

    def forward(self, x_BTD: Tensor, valid_BT: Tensor | None) -> Tensor:
        """[B, T, D of the modality] to [B, N, D]; ``valid_BT`` None attends to padding too."""
        feature: Tensor = self.transformer(self.project(x_BTD), valid_BT)
        return feature


class CompletenessCheck(nn.Module):
    """Judges from the text feature which share of the text is there."""

    def __init__(self, config: LNLNConfig) -> None:
        super().__init__()
        self.transformer = _token_transformer(
            config, length=config.tokens, tokens=1, depth=config.completeness_depth
        )
        self.head = small_head(config.width, 1)

    def forward(self, text_BND: Tensor) -> Tensor:
        """The share, in (0, 1), [B]."""
        logit_B11 = self.head(self.transformer(text_BND))
        share_B: Tensor = rearrange(logit_B11, "b 1 1 -> b").sigmoid()
        return share_B


class ProxyGenerator(nn.Module):
    """Makes up a dominant feature from audio and vision alone."""

    def __init__(self, config: LNLNConfig) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.ones(1, config.tokens, config.width))
        self.transformer = _token_transformer(
            config, length=3 * config.tokens, tokens=config.tokens, depth=config.proxy_depth
        )

    def forward(self, audio_BND: Tensor, vision_BND: Tensor) -> Tensor:
        """The proxy feature h_p, [B, N, D]."""
        start = repeat(self.start, "1 n d -> b n d", b=audio_BND.shape[0])
        proxy: Tensor = self.transformer(torch.cat([start, audio_BND, vision_BND], dim=1))
        return proxy


class Fusion(nn.Module):
    """The dominant feature reads the hyper feature; the result is pooled over the tokens."""

    def __init__(self, config: EmbeddingConfig, *, depth: int) -> None:
        super().__init__()
        places = config.tokens + 1
        self.source_positions = nn.Parameter(torch.randn(1, places, config.width))
        self.target_positions = nn.Parameter(torch.randn(1, places, config.width))
        self.extra_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = nn.ModuleList(
            Block(width=config.width, heads=config.heads, head_width=config.head_width)
            for _ in range(depth)
        )

    def forward(self, source_BND: Tensor, target_BND: Tensor) -> Tensor:
        """The fused feature of a sample, [B, D]."""
        return reduce(self.places(source_BND, target_BND)[:, 1:], "b n d -> b d", "mean")

    def places(self, source_BND: Tensor, target_BND: Tensor) -> Tensor:
        """The target after the last block, [B, 1 + N, D], the extra token in front."""
        extra = repeat(self.extra_token, "1 1 d -> b 1 d", b=source_BND.shape[0])
        source = torch.cat([extra, source_BND], dim=1) + self.source_positions
        target = torch.cat([extra, target_BND], dim=1) + self.target_positions
        for block in self.blocks:
            target = block(target, source)
        return target
