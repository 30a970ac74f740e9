"""A training's whole state, whatever strategy it ran under: put together, and dealt out again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lnln_dist.errors import CheckpointError
from lnln_dist.runtime.process import Process
from lnln_dist.runtime.spread import SLOTS, Spread, swap_parameters, tensors, trained


@dataclass(frozen=True)
class FullState:
    """Weights and optimizer slots as whole tensors in host memory; empty but on the main rank.

    It does not depend on the strategy, the number of ranks or the precision it came from, and
    shares no memory with the model: training may go on while it is written.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    """float32, by the names of the bare model."""
    slots: dict[str, Tensor] = field(default_factory=dict)
    """float32, by ``SLOT.PARAMETER``."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """The fp16 loss scale; empty in other precisions."""


def to_host(value: Tensor) -> Tensor:
    """A copy in host memory; floating point becomes float32."""
    dtype = torch.float32 if value.is_floating_point() else value.dtype
    return value.detach().to("cpu", dtype, copy=True).contiguous()


def install_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads whole weights into a bare model.

    Raises:
        CheckpointError: names or shapes differ.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as err:
        raise CheckpointError(
            f"the checkpoint was made for another network: {' '.join(str(err).split())}"
        ) from err


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that belong to the model's state."""
    names = model.state_dict().keys()
    return {name: value for name, value in model.named_buffers() if name in names}


def share_weights(process: Process, model: nn.Module) -> None:
    """Gives every rank rank 0's weights and buffers (collective)."""
    for value in tensors(model).values():
        held = value.data
        held.copy_(process.from_main(held, held.shape, held.dtype))


def take_out(process: Process, model: nn.Module, optimizer: Optimizer) -> Callable[[str], Tensor]:
    """Leaves a model and its optimizer with shapes, on the meta device, instead of tensors.

    Returns:
        Rank 0's tensor of a name, on every rank's device (collective); what the other ranks
        held, if anything, is gone.
    """
    held = tensors(model) if process.is_main else {}
    swap_parameters(
        model,
        optimizer,
        lambda _, p: nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad),
    )
    for module in model.modules():
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = torch.empty_like(value, device="meta")
    like = tensors(model)
    return lambda name: process.from_main(held.get(name), like[name].shape, like[name].dtype)


def deal_slots(
    process: Process,
    spread: Spread,
    bare: nn.Module,
    optimizer: Optimizer,
    slots: Mapping[str, Tensor],
) -> None:
    """Scatters rank 0's optimizer slots, after the model was wrapped (collective)."""
    shapes = process.broadcast_object({key: value.shape for key, value in slots.items()})
    for name, parameter in trained(bare).items():
        keys = {slot: f"{slot}.{name}" for slot in SLOTS if f"{slot}.{name}" in shapes}
        held = {
            slot: process.from_main(slots.get(key), shapes[key], torch.float32)
            for slot, key in keys.items()
        }
        if held:
            spread.put_slots(optimizer, parameter, held)


def whole_weights(process: Process, spread: Spread, bare: nn.Module) -> dict[str, Tensor]:
    """Weights and persistent buffers in rank 0's host memory (collective); {} elsewhere.

    No rank holds more than one whole parameter at a time on its device.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in bare.named_parameters():
        value = spread.weight(parameter)
        if process.is_main:
            found[name] = to_host(value)
    if process.is_main:
        kept = persistent_buffers(bare)
        found.update((name, to_host(value)) for name, value in kept.items())
    return found


def whole_slots(
    process: Process, spread: Spread, bare: nn.Module, optimizer: Optimizer
) -> dict[str, Tensor]:
    """Optimizer slots in rank 0's host memory (collective); {} on the other ranks."""
    found: dict[str, Tensor] = {}
    for name, parameter in trained(bare).items():
        for slot, value in spread.slots(optimizer, parameter).items():
            if process.is_main:
                found[f"{slot}.{name}"] = to_host(value)
    return found
