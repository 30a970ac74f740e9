"""Hyper-modality learning: the dominant feature picks what it needs from audio and vision."""

from collections.abc import Sequence

import torch
from einops import repeat
from torch import Tensor, nn

from lnln_dist.models.layers import attend

SIDES = ("audio", "vision")


class HyperLayer(nn.Module):
    """One step: the dominant feature queries audio and vision, the hyper feature takes it in.

    Heads are narrow here (width / heads), and one output projection follows the sum of the
    two attentions. The residual is the normed hyper feature.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleDict(
            {name: nn.LayerNorm(width) for name in ("dominant", *SIDES, "hyper")}
        )
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.ModuleDict({side: nn.Linear(width, width, bias=False) for side in SIDES})
        self.to_value = nn.ModuleDict({side: nn.Linear(width, width, bias=False) for side in SIDES})
        self.to_out = nn.Linear(width, width)

    def forward(
        self, dominant_BND: Tensor, audio_BND: Tensor, vision_BND: Tensor, hyper_BND: Tensor
    ) -> Tensor:
        """The next hyper feature, [B, N, D]."""
        query = self.to_query(self.norms["dominant"](dominant_BND))
        audio = self._read(query, "audio", audio_BND)
        vision = self._read(query, "vision", vision_BND)
        out: Tensor = self.norms["hyper"](hyper_BND) + self.to_out(audio + vision)
        return out

    def _read(self, query_BND: Tensor, side: str, x_BND: Tensor) -> Tensor:
        normed = self.norms[side](x_BND)
        key, value = self.to_key[side](normed), self.to_value[side](normed)
        return attend(query_BND, key, value, heads=self.heads)


class HyperLearning(nn.Module):
    """A learned start, refined by one layer per hidden state of the dominant feature."""

    def __init__(self, *, depth: int, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.ones(1, tokens, width))
        self.layers = nn.ModuleList(HyperLayer(width=width, heads=heads) for _ in range(depth))

    def forward(
        self, dominant_states: Sequence[Tensor], audio_BND: Tensor, vision_BND: Tensor
    ) -> Tensor:
        """The hyper-modality feature, [B, N, D].

        Args:
            dominant_states: as many [B, N, D] as there are layers, first to last.
            audio_BND: audio feature.
            vision_BND: vision feature.
        """
        hyper = repeat(self.start, "1 n d -> b n d", b=audio_BND.shape[0])
        for layer, dominant in zip(self.layers, dominant_states, strict=True):
            hyper = layer(dominant, audio_BND, vision_BND, hyper)
        return hyper
