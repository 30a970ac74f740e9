"""AdamW with parameter groups, and learning rates as a function of the position."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lnln_dist.config import OptimConfig
from lnln_dist.errors import ConfigError
from lnln_dist.models.text import TextEncoder

OFFICIAL_WARMUP = 0.1  # share of the epochs; fixed in the released code


def _all(_: str) -> bool:
    return True


def parameter_groups(
    model: nn.Module, config: OptimConfig, takes: Callable[[str], bool] = _all
) -> list[dict[str, Any]]:
    """Groups encoder/rest x decayed/plain, each with its peak rate under ``peak_lr``.

    The encoder is whatever ``TextEncoder`` the model holds.

    Biases, norms and learned tokens (all of one dimension, or named as such) are not decayed unless
    ``decay_all``. Frozen parameters are left out, and those whose name ``takes`` does not take.

    Raises:
        ConfigError: nothing is left to train, or ``encoder_lr`` is set for a frozen encoder.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    encoders = [module for module in model.modules() if isinstance(module, TextEncoder)]
    encoded = {id(parameter) for encoder in encoders for parameter in encoder.parameters()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and takes(name):
            in_encoder = id(parameter) in encoded
            decayed = config.decay_all or (
                parameter.ndim > 1 and not name.endswith(("tokens", "positions"))
            )
            groups.setdefault((in_encoder, decayed), []).append(parameter)
    if not groups:
        raise ConfigError("model: every parameter is frozen, nothing to train")
    if config.encoder_lr is not None and not any(encoder for encoder, _ in groups):
        raise ConfigError("optim.encoder_lr has no effect: model.encoder.freeze is all")
    return [
        {
            "params": parameters,
            "name": f"{'encoder' if encoder else 'rest'}_{'decay' if decayed else 'plain'}",
            "peak_lr": (config.encoder_lr or config.lr) if encoder else config.lr,
            "lr": 0.0,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (encoder, decayed), parameters in sorted(groups.items())
    ]


def make_optimizer(
    model: nn.Module, config: OptimConfig, takes: Callable[[str], bool] = _all
) -> torch.optim.AdamW:
    """AdamW over ``parameter_groups``."""
    groups = parameter_groups(model, config, takes)
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, lr=0.0)


def official_factor(epoch: int, epochs: int) -> float:
    """Share of the peak rate in epoch 0..epochs-1 of the released code's schedule.

    The first epoch trains with rate 0; the peak is held for two epochs when the warm-up is whole.
    """
    warmup = OFFICIAL_WARMUP * epochs
    if epoch <= warmup:
        return epoch / warmup
    since = epoch - math.floor(warmup) - 1
    return 0.5 * (1 + math.cos(math.pi * since / ((1 - OFFICIAL_WARMUP) * epochs)))


def factor(config: OptimConfig, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Share of the peak rate at optimizer step 0.. (a pure function: nothing to save)."""
    if config.schedule == "official":
        return official_factor(step // steps_per_epoch, epochs)
    total = steps_per_epoch * epochs
    warmup = math.ceil(config.warmup_share * total)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> dict[str, float]:
    """Sets every group's rate to ``share`` of its peak; returns them by group name."""
    for group in optimizer.param_groups:
        group["lr"] = share * group["peak_lr"]
    return {group["name"]: group["lr"] for group in optimizer.param_groups}
