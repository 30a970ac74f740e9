"""Small networks of every model, filled by a formula, and their comparison with an equation."""

import zlib
from collections.abc import Callable

import torch
from builders import SHAPES, TOKENIZER, small_config
from torch import Tensor, nn

from lnln_dist import settings
from lnln_dist.models import InputShapes, build_network
from lnln_dist.models.text import build_encoder
from lnln_dist.types import Batch

SIZES = {"width": 16, "tokens": 2, "heads": 2, "head_width": 8}
# What makes a model small: the sizes of the settings that it has.
SMALL: dict[str, dict[str, object]] = {
    "lnln": SIZES,
    "text": SIZES,
    "late_fusion": SIZES,
    "almt": SIZES,
    "mult": {"width": 8, "heads": 2, "depth": 1, "memory_depth": 1, "dropout": 0.0},
    "prmf": {**SIZES, "fusion_rounds": 2, "dropout": 0.0},
    "tfr_net": {
        "width": 8,
        "heads": 2,
        "depth": 1,
        "gate_depth": 2,
        "hidden": 8,
        "dropout": 0.0,
        "text_feature": 5,
        "audio_feature": 3,
        "vision_feature": 4,
    },
    "self_mm": {
        "audio_hidden": 5,
        "vision_hidden": 4,
        "audio_width": 3,
        "vision_width": 4,
        "fused_feature": 6,
        "text_feature": 5,
        "audio_feature": 3,
        "vision_feature": 4,
        "dropout": 0.0,
    },
    "tfn": {"text_width": 6, "audio_width": 5, "vision_width": 4, "hidden": 8, "dropout": 0.0},
}
MOSI = InputShapes(
    audio_width=5, vision_width=20, text_length=50, audio_length=375, vision_length=500
)
# A total loss from a network's parameters and a batch, as the method's equations have it.
Equation = Callable[[nn.Module, Batch], Tensor]


def raw_settings(name: str, **changes: object) -> dict[str, object]:
    """A run's section ``model``."""
    return {"name": name, **SMALL[name], **changes}


def small_network(
    name: str,
    *,
    loss: dict[str, float] | None = None,
    kind: str = "regression",
    **changes: object,
) -> nn.Module:
    """In float64 without dropout; no parameter or buffer is zero, one, or equal to another."""
    raw: dict[str, object] = {"model": raw_settings(name, **changes), "loss": loss or {}}
    raw["task"] = {"kind": kind}
    if not changes.get("mask_padding", True):
        raw["data"] = {"padding": "corpus"}
    config = settings.build(raw)
    encoder = build_encoder(
        small_config().encoder, tokenizer=TOKENIZER, max_length=SHAPES.text_length
    )
    network = build_network(config, encoder, SHAPES).double().eval()
    with torch.no_grad():
        for path, value in (*network.named_parameters(), *network.named_buffers()):
            if not value.is_floating_point():
                continue
            count = torch.arange(value.numel(), dtype=torch.float64)
            wave = 0.3 * torch.sin(0.37 * count**1.1 + zlib.crc32(path.encode()) % 1000)
            # Norms near one; biases above zero, so that no layer of ReLUs is silent.
            shift = 0.7 if "norm" in path else 0.4 if path.endswith("bias") else 0.0
            value.copy_(wave.reshape(value.shape) + shift)
    return network


class NoEncoder(nn.Module):
    """As wide as BERT, without parameters."""

    width = 768


def mosi_network(name: str, **changes: object) -> nn.Module:
    """A network of the default sizes for MOSI, as a training starts with it, without encoder."""
    config = settings.build({"model": {"name": name, **changes}})
    return build_network(config, NoEncoder(), MOSI)


def size(network: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def unlike(network: nn.Module, batch: Batch, equation: Equation) -> list[str]:
    """Where the total loss, or a gradient of it, is not the equation's."""
    found, wanted = network.losses(batch).total(), equation(network, batch)
    names, parameters = zip(*network.named_parameters(), strict=True)
    one, other = (
        torch.autograd.grad(total, parameters, allow_unused=True) for total in (found, wanted)
    )
    pairs = {"loss": (found, wanted), **dict(zip(names, zip(one, other, strict=True), strict=True))}
    return [name for name, (a, b) in pairs.items() if not _close(a, b)]


def _close(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(torch.allclose(one, other, rtol=1e-8, atol=1e-10))


def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    """A layer norm by its definition."""
    spread = ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
    return (x - x.mean(-1, keepdim=True)) / (spread + 1e-5) ** 0.5 * layer.weight + layer.bias


def affine(x: Tensor, layer: nn.Linear) -> Tensor:
    """A linear layer by its definition."""
    y = torch.einsum("...i,oi->...o", x, layer.weight)
    return y if layer.bias is None else y + layer.bias


def weigh(query: Tensor, key: Tensor, value: Tensor, *, heads: int, valid: Tensor | None = None):
    """Attention by its definition, head by head; ``valid`` [B, J] hides keys."""
    mixed = []
    for q, k, v in zip(*(x.chunk(heads, dim=-1) for x in (query, key, value)), strict=True):
        scores = torch.einsum("bic,bjc->bij", q, k) / q.shape[-1] ** 0.5
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None], -torch.inf)
        share = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
        mixed.append(torch.einsum("bij,bjc->bic", share, v))
    return torch.cat(mixed, dim=-1)
