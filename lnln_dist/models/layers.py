"""Transformer layers shared by every part of the network; shape letters as in ``types``.

All of them normalise first, have no dropout, and keep the token width D. N stands for the
leading places a transformer returns, I for query places, J for key places.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        return -grad


def reverse_gradient(x: Tensor) -> Tensor:
    """The same values; gradients change sign on their way back (factor 1)."""
    result: Tensor = _ReverseGradient.apply(x)  # type: ignore[no-untyped-call]
    return result


def attend(
    query_BIE: Tensor, key_BJE: Tensor, value_BJE: Tensor, *, heads: int, mask: Tensor | None = None
) -> Tensor:
    """Multi-head attention of projected streams; E is all heads' width together.

    Args:
        query_BIE: queries; scaled by the root of one head's width, E / heads.
        key_BJE: keys.
        value_BJE: values.
        heads: number of heads.
        mask: bool, four axes that broadcast to [B, heads, I, J]; False hides a key.

    Returns:
        [B, I, E].
    """
    query, key, value = (
        rearrange(x, "b t (h c) -> b h t c", h=heads) for x in (query_BIE, key_BJE, value_BJE)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return rearrange(mixed, "b h i c -> b i (h c)")


class Attention(nn.Module):
    """Attention of a target stream to a source stream, each of q, k, v with its own norm."""

    def __init__(self, *, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.norm_query = nn.LayerNorm(width)
        self.norm_key = nn.LayerNorm(width)
        self.norm_value = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, inner, bias=False)
        self.to_key = nn.Linear(width, inner, bias=False)
        self.to_value = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Linear(inner, width)

    def forward(self, target_BID: Tensor, source_BJD: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the target reads from the source, [B, I, D]; ``mask`` as in ``attend``."""
        query = self.to_query(self.norm_query(target_BID))
        key = self.to_key(self.norm_key(source_BJD))
        value = self.to_value(self.norm_value(source_BJD))
        out: Tensor = self.to_out(attend(query, key, value, heads=self.heads, mask=mask))
        return out


class FeedForward(nn.Module):
    """Norm, then two layers of the token width with the exact (erf) GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.act = nn.GELU()
        self.down = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out: Tensor = self.down(self.act(self.up(self.norm(x_BTD))))
        return out


class Block(nn.Module):
    """Attention and feed-forward, both residual on the target stream."""

    def __init__(self, *, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.attention = Attention(width=width, heads=heads, head_width=head_width)
        self.feed_forward = FeedForward(width)

    def forward(self, target_BID: Tensor, source_BJD: Tensor, mask: Tensor | None = None) -> Tensor:
        """The next target stream, [B, I, D]; self-attention when both streams are one."""
        attended = target_BID + self.attention(target_BID, source_BJD, mask)
        out: Tensor = attended + self.feed_forward(attended)
        return out


class Encoder(nn.Module):
    """Transformer over a sequence of fixed length, with learned positions and no final norm."""

    def __init__(self, *, length: int, depth: int, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, length, width))
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, head_width=head_width) for _ in range(depth)
        )

    def states(self, x_BND: Tensor) -> list[Tensor]:
        """All hidden states, depth + 1 of them: the input with positions first."""
        states = [x_BND + self.positions]
        for block in self.blocks:
            states.append(block(states[-1], states[-1]))
        return states

    def forward(self, x_BND: Tensor) -> Tensor:
        """The last hidden state, [B, N, D]."""
        return self.states(x_BND)[-1]


class TokenTransformer(nn.Module):
    """Reads a sequence into a few learned extra tokens, put in front of it.

    Args:
        length: longest sequence, in places.
        tokens: number of extra tokens N.
        depth: number of blocks.
        width: token width D.
        heads: attention heads.
        head_width: width of one head.
    """

    def __init__(
        self, *, length: int, tokens: int, depth: int, width: int, heads: int, head_width: int
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.positions = nn.Parameter(torch.randn(1, tokens + length, width))
        self.extra_tokens = nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, head_width=head_width) for _ in range(depth)
        )

    def forward(self, x_BTD: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        """The extra tokens after the last block, [B, N, D].

        Args:
            x_BTD: the sequence, at most ``length`` places.
            valid_BT: bool; places marked False are hidden as keys. None attends to all.
        """
        extra = repeat(self.extra_tokens, "1 n d -> b n d", b=x_BTD.shape[0])
        x = torch.cat([extra, x_BTD], dim=1)
        x = x + self.positions[:, : x.shape[1]]
        mask = None
        if valid_BT is not None:
            mask = rearrange(F.pad(valid_BT, (self.tokens, 0), value=True), "b j -> b 1 1 j")
        last = len(self.blocks) - 1
        for depth, block in enumerate(self.blocks):
            # Only the extra tokens are read afterwards: the last block need not renew the rest.
            x = block(x[:, : self.tokens] if depth == last else x, x, mask)
        return x
