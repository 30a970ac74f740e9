"""Floating-point operations of training, counted on the real network.

One multiply-add is two operations. Only matrix products count (as in model FLOPs utilisation,
Chowdhery et al., arXiv 2204.02311, appendix B): attention included, activations computed a second
time not included.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from lnln_dist.cost.skeleton import Lengths, Skeleton
from lnln_dist.types import Batch

FIELDS = ("text", "audio", "vision")
MOST_COUNTED = 8  # places of the longest sequence a curve is fitted to


@dataclass(frozen=True)
class Flops:
    """Operations of one sample."""

    forward: float
    """Of the training forward pass: complete and damaged input."""
    total: float
    """Forward and backward pass."""


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    flops: int = sdpa_flop_count(query.shape, key.shape, value.shape)  # type: ignore[no-untyped-call]
    return flops


def _attention_backward(_: Tensor, *inputs: Any, **__: Any) -> int:
    # Two products for each of the forward pass; the scores made a second time do not count.
    return 2 * _attention(*inputs)


def _recurrent(frames: Tensor, from_frame: Tensor, from_state: Tensor, *_: Any, **__: Any) -> int:
    places = frames.shape[0] * frames.shape[1]
    return 2 * places * (from_frame.numel() + from_state.numel())


def _recurrent_backward(*inputs: Any, **__: Any) -> int:
    return 2 * _recurrent(*inputs)


# torch's own formulas, which know the fused attention of GPUs, and the CPU's beside them.
FORMULAS = flop_registry | {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent,
    torch.ops.aten.mkldnn_rnn_layer_backward: _recurrent_backward,
}


class _Counter(TorchDispatchMode):
    """As ``torch.utils.flop_counter.FlopCounterMode`` in total, at a quarter of its time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def count(skeleton: Skeleton, lengths: Lengths) -> Flops:
    """Operations of one sample whose sequences have ``lengths`` places."""
    counter = _Counter()
    with skeleton.pretending(), skeleton.keeping_all(), counter:
        loss = skeleton.loss(1, lengths)
        forward = counter.total
        loss.backward()  # type: ignore[no-untyped-call]
    skeleton.model.zero_grad(set_to_none=True)
    return Flops(forward, counter.total)


@dataclass(frozen=True)
class FlopCurve:
    """Operations of one sample in training as a function of its padded lengths.

    A part of a network reads one sequence, one from another (MulT), or the N tokens of each: the
    count is a quadratic in the three lengths, fixed exactly by ten counts.
    """

    constant: float
    slopes: tuple[float, float, float]
    """Operations per place of text, audio and vision."""
    curvatures: tuple[float, float, float]
    """Operations per squared place."""
    mixed: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Operations per place and place of text and audio, text and vision, audio and vision."""

    def per_sample(self, lengths: Lengths) -> float:
        """Operations of one sample, forward and backward."""
        places = (lengths.text, lengths.audio, lengths.vision)
        parts = zip(places, self.slopes, self.curvatures, strict=True)
        alone = sum(slope * n + bend * n * n for n, slope, bend in parts)
        pairs = zip(combinations(places, 2), self.mixed, strict=True)
        return self.constant + alone + sum(rate * n * m for (n, m), rate in pairs)


def curve(skeleton: Skeleton) -> FlopCurve:
    """Counts ten times (some seconds for BERT-base) and gives the exact curve."""
    return interpolate(lambda lengths: count(skeleton, lengths).total)


def of_batches(skeleton: Skeleton) -> Callable[[Batch], float]:
    """A function that gives the operations of training on a batch, padding included."""
    counted = curve(skeleton)

    def operations(batch: Batch) -> float:
        size, text = batch.text.ids_BT.shape
        audio, vision = batch.audio.valid_BT.shape[1], batch.vision.valid_BT.shape[1]
        return size * counted.per_sample(Lengths(text=text, audio=audio, vision=vision))

    return operations


def interpolate(counted: Callable[[Lengths], float]) -> FlopCurve:
    """The curve through one base point, two more per modality and one per pair of them."""
    base = Lengths(text=2, audio=2, vision=2)
    start = Fraction(counted(base))

    def gain(**places: int) -> Fraction:
        return Fraction(counted(replace(base, **places))) - start

    near, bends, slopes, mixed = {}, {}, {}, {}
    for field in FIELDS:
        # f(4) - f(2) = 2 s + 12 c and f(8) - f(2) = 6 s + 60 c, the others being 2.
        near[field] = gain(**{field: 4})
        bends[field] = (gain(**{field: MOST_COUNTED}) - 3 * near[field]) / 24
        slopes[field] = (near[field] - 12 * bends[field]) / 2
    for one, other in combinations(FIELDS, 2):
        # What both gain together beyond what each gains: (4 - 2) (4 - 2) m.
        mixed[one, other] = (gain(**{one: 4, other: 4}) - near[one] - near[other]) / 4
        slopes[one] -= 2 * mixed[one, other]
        slopes[other] -= 2 * mixed[one, other]
    constant = start - sum(2 * slopes[f] + 4 * bends[f] for f in FIELDS) - 4 * sum(mixed.values())
    text, audio, vision = (float(slopes[field]) for field in FIELDS)
    first, second, third = (float(bends[field]) for field in FIELDS)
    ta, tv, av = map(float, mixed.values())
    return FlopCurve(float(constant), (text, audio, vision), (first, second, third), (ta, tv, av))
