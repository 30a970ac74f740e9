"""The four loss terms of LNLN, as sums over samples that a caller divides once."""

from collections.abc import Mapping
from typing import Literal

import torch
from einops import reduce
from torch import Tensor

from lnln_dist.config import LossConfig
from lnln_dist.types import Batch, Outputs

GENERATED, LANGUAGE = 1, 0  # classes of the discriminator


def lnln_terms(
    outputs: Outputs, batch: Batch, *, completeness: Literal["nominal", "counted"]
) -> dict[str, Tensor]:
    """Raw loss terms, each summed over the samples of the batch (spec section 4).

    A sample's own value is a mean over its entries (tokens, widths), so dividing a sum by the
    number of samples gives the mean of the paper. Samples count ``batch.weight_B`` times.

    Args:
        outputs: what the network returned. Without its training outputs only the terms
            ``sentiment`` and ``completeness`` exist.
        batch: labels, weights and noise of the same samples.
        completeness: label of the completeness check, 1 - rate or the counted share of tokens.

    Returns:
        Scalars under the names of ``LossConfig``; float32, or float64 if the outputs are.

    Raises:
        ValueError: two tensors that are compared differ in shape.
    """
    text = batch.text
    label_B = 1 - text.rate_B if completeness == "nominal" else text.kept_share()
    per_sample = {
        "completeness": _squared_error(outputs.completeness_B, label_B),
        "sentiment": _squared_error(outputs.sentiment_B, batch.label_B),
    }
    generated, language = outputs.generated_logits_BN2, outputs.language_logits_BN2
    if generated is not None and language is not None:
        per_sample["adversarial"] = _adversarial(generated, language)
    rebuilt, target = outputs.reconstructed_BND, outputs.target_BND
    if rebuilt is not None and target is not None:
        error_BND = _squared_error(rebuilt, target)
        per_sample["reconstruction"] = reduce(error_BND, "b n d -> b", "mean")
    return {name: _weighted_sum(value, batch.weight_B) for name, value in per_sample.items()}


def weighted_total(terms: Mapping[str, Tensor], weights: LossConfig) -> Tensor:
    """The terms times their weights, added up."""
    return torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()


def _adversarial(generated_BN2: Tensor, language_BN2: Tensor) -> Tensor:
    """Cross entropy of a sample, the mean over its 2N tokens, [B]."""
    _same_shape(generated_BN2, language_BN2)
    log_generated = _wide(generated_BN2).log_softmax(dim=-1)[..., GENERATED]
    log_language = _wide(language_BN2).log_softmax(dim=-1)[..., LANGUAGE]
    return -reduce(log_generated + log_language, "b n -> b", "mean") / 2


def _squared_error(value: Tensor, target: Tensor) -> Tensor:
    _same_shape(value, target)
    return (_wide(value) - target) ** 2


def _weighted_sum(value_B: Tensor, weight_B: Tensor) -> Tensor:
    _same_shape(value_B, weight_B)
    return (value_B * weight_B).sum()


def _wide(x: Tensor) -> Tensor:
    """Half precision as float32: sums over a batch need the digits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _same_shape(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:  # broadcasting [B] with [B, 1] would silently average pairs
        raise ValueError(f"shapes differ: {tuple(one.shape)} and {tuple(other.shape)}")
