"""Memory of one process while it trains, per strategy, estimated from the real network.

Parameters, gradients and optimizer states follow Rajbhandari et al. (arXiv 1910.02054, section 3)
with P trainable parameters on N processes. Activations are the bytes that autograd keeps for the
backward pass, summed over the real network. Estimates leave out the CUDA context and libraries
(roughly half a GiB), workspace and the allocator's gaps: see ``HEADROOM``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from lnln_dist.config import Strategy
from lnln_dist.cost.cards import Precision
from lnln_dist.cost.skeleton import Lengths, Skeleton

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
HEADROOM = 2**30  # bytes of a card that an estimate leaves alone
WIDE = 4  # bytes of a float32
ADAM = 8  # bytes of the two float32 moments of a parameter
# Elements that DeepSpeed reduces or gathers at once: its own 500 million need more than the model.
BUCKET = 50_000_000


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters."""

    trained: int
    frozen: int
    largest_unit: int
    """Of the largest part that sharded strategies bring together at once: a layer of the network,
    or all that belongs to none."""


@dataclass(frozen=True)
class Activations:
    """Bytes that autograd keeps for the backward pass of one micro-batch."""

    samples: int
    """That grow with the batch."""
    weights: int = 0
    """Half copies of float32 weights that autocast makes; none where weights are half already."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of one process."""

    parameters: int
    gradients: int
    optimizer: int
    """Moments, and the float32 copy of the weights where the strategy keeps one."""
    buffers: int
    """What communication holds besides."""
    activations: int
    host: int
    """Bytes that offloading puts into the host's memory instead."""

    @property
    def device(self) -> int:
        """Bytes on the GPU."""
        return self.parameters + self.gradients + self.optimizer + self.buffers + self.activations


def sizes_of(model: nn.Module) -> Parameters:
    """Counts a network's parameters, fake or real."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layers = [sum(p.numel() for p in layer.parameters()) for item in lists for layer in item]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return Parameters(trained, total - trained, max([*layers, total - sum(layers)]))


def activations(
    skeleton: Skeleton, *, size: int, lengths: Lengths, precision: Precision
) -> Activations:
    """Bytes kept for the backward pass of a micro-batch of ``size`` samples.

    With activation checkpointing one layer's inner activations are added: they come back while it
    is computed again.
    """
    one, two, kept = (_kept(skeleton, n, lengths, precision) for n in (1, 2, size))
    weights = max(0, 2 * one - two) if precision != "fp32" else 0
    if skeleton.recomputed:
        # One layer's at a time comes back, of all that the passes call.
        again = len(skeleton.uses(skeleton.recomputed, lengths))
        with skeleton.keeping_all():
            whole = _kept(skeleton, size, lengths, precision)
        kept += (whole - kept) // again
    return Activations(kept - weights, weights)


def _kept(skeleton: Skeleton, size: int, lengths: Lengths, precision: Precision) -> int:
    # A forward pass takes a second for BERT-base, and tables ask for the same ones often.
    key = (size, lengths, precision, len(skeleton.recomputed))
    if key not in skeleton.kept:
        kind = torch.float16 if precision == "fp16" else torch.bfloat16
        half = torch.autocast("cpu", dtype=kind, enabled=precision != "fp32")
        with skeleton.pretending(), half:
            found = kept_bytes(lambda: skeleton.loss(size, lengths), skeleton.model)
        skeleton.kept[key] = found
    return skeleton.kept[key]


def kept_bytes(forward: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes that autograd keeps of a forward pass, the parameters of ``model`` not counted."""
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    seen: dict[int, torch.UntypedStorage] = {}  # held, or an address would be used twice

    def note(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        forward()
    return sum(storage.nbytes() for storage in seen.values())


def footprint(
    counted: Parameters,
    strategy: Strategy,
    *,
    world: int,
    precision: Precision,
    kept: Activations,
    offload: bool = False,
) -> Footprint:
    """Bytes of one of ``world`` processes.

    DDP and FSDP2 hold float32 weights and gradients; FSDP2 brings weights together in the
    training precision. ZeRO holds weights in the training precision, float32 weights beside the
    moments, and gradients in float32 where they are cut (stages 2 and 3).

    Args:
        counted: of the network.
        strategy: who holds what.
        world: number of processes N.
        precision: arithmetic of the forward pass.
        kept: of ``activations``.
        offload: ZeRO keeps moments and float32 weights in the host's memory.
    """
    trained, whole = counted.trained, counted.trained + counted.frozen
    share = -(-trained // world)
    narrow = WIDE if precision == "fp32" else 2
    copies = 0
    if strategy == "ddp":
        weights, gradients, states = WIDE * whole, WIDE * trained, ADAM * trained
        buffers = WIDE * trained if world > 1 else 0  # DDP copies gradients into its buckets
        copies = kept.weights
    elif strategy == "fsdp2":
        weights, gradients, states = WIDE * -(-whole // world), WIDE * share, ADAM * share
        buffers = 2 * narrow * counted.largest_unit
    else:
        stage = int(strategy[-1])
        weights = narrow * (-(-whole // world) if stage == 3 else whole)
        gradients = narrow * trained if stage == 1 else WIDE * share
        states = (WIDE + ADAM) * share
        buffers = narrow * min(BUCKET, trained) * (1 if stage == 1 else 2)
        if stage == 3:
            buffers += 2 * narrow * counted.largest_unit
    moved = states if offload and strategy.startswith("zero") else 0
    return Footprint(
        parameters=weights,
        gradients=gradients,
        optimizer=states - moved,
        buffers=buffers,
        activations=kept.samples + copies,
        host=moved,
    )
