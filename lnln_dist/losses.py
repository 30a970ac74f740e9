"""Loss terms as sums over samples, which a caller divides once; shared by all models."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lnln_dist.types import Batch, SequenceInput, TextInput, seen_share


def squared_error(value: Tensor, target: Tensor) -> Tensor:
    """Elementwise, in float32 at least.

    Raises:
        ValueError: the shapes differ.
    """
    same_shape(value, target)
    return (wide(value) - target) ** 2


def sentiment_error(output: Tensor, batch: Batch) -> Tensor:
    """What a sentiment head loses on each sample, [B]; in float32 at least.

    Args:
        output: of a ``SentimentHead``. A number [B]: the squared error. Logits of classes [B, C]:
            the cross entropy, times the weight of the true class.
        batch: labels, and the classes of them where there are logits.

    Raises:
        ValueError: the shapes differ.
    """
    if output.shape[1:].numel() == 1:
        return squared_error(output, batch.label_B)
    assert batch.target is not None, "the loader gives classes wherever a head has some"
    entropy_B = F.cross_entropy(wide(output), batch.target.class_B, reduction="none")
    return entropy_B * batch.target.weight_B


def weighted_sum(value_B: Tensor, weight_B: Tensor) -> Tensor:
    """Values of samples [B] times their weights [B], added up.

    Raises:
        ValueError: the shapes differ.
    """
    same_shape(value_B, weight_B)
    return (value_B * weight_B).sum()


def of_what_was_there(value: Tensor, given: TextInput | SequenceInput) -> Tensor:
    """A comparison with a modality's complete input, [B ...]: 0 for samples that never had it.

    A sample of which some places are missing keeps its own: the complete input is what was there.
    """
    if given.seen_BT is None:
        return value
    has_B = seen_share(given) > 0
    return value.where(has_B.view(-1, *(1,) * (value.ndim - 1)), 0.0)


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
