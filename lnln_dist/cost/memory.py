"""Memory of one process while it trains, per strategy, estimated from the real network.

Parameters, gradients and optimizer states follow Rajbhandari et al. (arXiv 1910.02054, section 3)
with P trainable parameters on N processes. Activations are the bytes that autograd keeps for the
backward pass, summed over the real network. Estimates leave out the CUDA context and libraries
(roughly half a GiB), workspace and the allocator's gaps: see ``HEADROOM``.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lnln_dist.cost.cards import Precision
from lnln_dist.cost.skeleton import Lengths, Skeleton, is_layer

Strategy = Literal["ddp", "zero1", "zero2", "zero3", "fsdp2"]
STRATEGIES: tuple[Strategy, ...] = ("ddp", "zero1", "zero2", "zero3", "fsdp2")
HEADROOM = 2**30  # bytes of a card that an estimate leaves alone
ADAM = 8  # bytes of the two float32 moments of a parameter
BUCKET = 50_000_000  # elements that DeepSpeed reduces or gathers at once


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters."""

    trained: int
    frozen: int
    largest_unit: int
    """Of the largest part that sharded strategies bring together at once: an encoder layer, or
    all that belongs to none."""
    gathered: int
    """Counted once per use in a training forward pass (the text encoder is used twice)."""
    units: int
    """Parts that sharded strategies bring together one at a time."""
    unit_uses: int
    """Times they do so in a training forward pass."""


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


def parameters_of(skeleton: Skeleton, lengths: Lengths) -> Parameters:
    """Counts the network's parameters, and how often one forward pass uses them."""
    model = skeleton.model
    own = {name: sum(p.numel() for p in m.parameters(recurse=False)) for name, m in _named(model)}
    layers = [name for name, m in _named(model) if is_layer(m)]
    in_layer = [sum(n for k, n in own.items() if k.startswith(f"{layer}.")) for layer in layers]
    uses: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: uses.append(name))
        for name, module in _named(model)
        if own[name] or name in layers
    ]
    with skeleton.pretending(), torch.no_grad():
        skeleton.loss(1, lengths)
    for handle in handles:
        handle.remove()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    rest = total - sum(in_layer)
    once = [name for name in own if name not in uses]  # read by their parent, as tables are
    return Parameters(
        trained=trained,
        frozen=total - trained,
        largest_unit=max([*in_layer, rest]),
        gathered=sum(own[name] for name in [*uses, *once]),
        units=len(layers) + 1,
        unit_uses=sum(name in layers for name in uses) + 1,
    )


def _named(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(model.named_modules())


def activation_bytes(
    skeleton: Skeleton, *, size: int, lengths: Lengths, precision: Precision
) -> int:
    """Bytes kept for the backward pass of a micro-batch of ``size`` samples.

    Half precision counts the half copies of the weights that autocast makes. With activation
    checkpointing one layer's inner activations are added: they come back while it is recomputed.
    """
    kept = _kept(skeleton, size, lengths, precision)
    again = len(skeleton.recomputed)
    if again:
        with skeleton.keeping_all():
            whole = _kept(skeleton, size, lengths, precision)
        kept += (whole - kept) // (2 * again)  # the encoder runs twice
    return kept


def _kept(skeleton: Skeleton, size: int, lengths: Lengths, precision: Precision) -> int:
    own = {p.untyped_storage()._cdata for p in skeleton.model.parameters()}
    seen: dict[int, torch.UntypedStorage] = {}  # held, or an address would be used twice

    def note(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage
        return x

    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    with (
        skeleton.pretending(),
        torch.autograd.graph.saved_tensors_hooks(note, lambda x: x),
        torch.autocast("cpu", dtype=kind, enabled=precision != "fp32"),
    ):
        skeleton.loss(size, lengths)
    return sum(storage.nbytes() for storage in seen.values())


def footprint(
    counted: Parameters,
    strategy: Strategy,
    *,
    world: int,
    precision: Precision,
    activations: int,
    offload: bool = False,
) -> Footprint:
    """Bytes of one of ``world`` processes.

    DDP and FSDP2 keep float32 weights and compute in half precision by autocast; ZeRO keeps
    weights and gradients in the training precision and a float32 copy beside the moments.

    Args:
        counted: of the network.
        strategy: who holds what.
        world: number of processes N.
        precision: arithmetic of the forward pass.
        activations: of ``activation_bytes``.
        offload: ZeRO keeps moments and float32 copy in the host's memory.
    """
    trained, whole = counted.trained, counted.trained + counted.frozen
    wide, share = 4, -(-trained // world)
    if strategy == "ddp":
        weights, gradients, states = wide * whole, wide * trained, ADAM * trained
        buffers = wide * trained if world > 1 else 0  # DDP copies gradients into its buckets
    elif strategy == "fsdp2":
        weights, gradients = wide * -(-whole // world), wide * share
        states, buffers = ADAM * share, 2 * wide * counted.largest_unit if world > 1 else 0
    else:
        narrow = wide if precision == "fp32" else 2
        sharded = strategy == "zero3"
        weights = narrow * (-(-whole // world) if sharded else whole)
        gradients = narrow * (trained if strategy == "zero1" else share)
        states = (4 + ADAM) * share
        buffers = narrow * min(BUCKET, trained) * (1 if strategy == "zero1" else 2)
        if sharded:
            buffers += 2 * narrow * counted.largest_unit
    moved = states if offload and strategy.startswith("zero") else 0
    return Footprint(
        parameters=weights,
        gradients=gradients,
        optimizer=states - moved,
        buffers=buffers,
        activations=activations,
        host=moved,
    )
