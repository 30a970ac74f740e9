"""Loss terms as sums over samples, which a caller divides once; shared by all models."""

import torch
from torch import Tensor


def squared_error(value: Tensor, target: Tensor) -> Tensor:
    """Elementwise, in float32 at least.

    Raises:
        ValueError: the shapes differ.
    """
    same_shape(value, target)
    return (wide(value) - target) ** 2


def weighted_sum(value_B: Tensor, weight_B: Tensor) -> Tensor:
    """Values of samples [B] times their weights [B], added up.

    Raises:
        ValueError: the shapes differ.
    """
    same_shape(value_B, weight_B)
    return (value_B * weight_B).sum()


def wide(x: Tensor) -> Tensor:
    """Half precision as float32: sums over a batch need the digits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def same_shape(one: Tensor, other: Tensor) -> None:
    """Refuses tensors that broadcasting would compare wrongly.

    Raises:
        ValueError: the shapes differ.
    """
    if one.shape != other.shape:  # broadcasting [B] with [B, 1] would silently average pairs
        raise ValueError(f"shapes differ: {tuple(one.shape)} and {tuple(other.shape)}")
