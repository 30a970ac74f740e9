"""A training's whole state, whatever strategy it ran under, and a model whole on one rank."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lnln_dist.errors import CheckpointError
from lnln_dist.runtime.process import Process
from lnln_dist.runtime.spread import SLOTS, Spread, trained


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


class Template:
    """A copy of a bare model without trained weights, to be filled where it is sharded.

    Frozen parameters keep their values: they never change, and a strategy may hold them in less
    than float32.
    """

    def __init__(self, model: nn.Module) -> None:
        blank = {
            id(p): nn.Parameter(torch.empty_like(p, device="meta"))
            for p in model.parameters()
            if p.requires_grad
        }
        self._blank = {n: blank[id(p)] for n, p in model.named_parameters() if id(p) in blank}
        self._module: nn.Module = copy.deepcopy(model, dict(blank))
        self.frozen = {
            name: p.detach() for name, p in self._module.named_parameters() if not p.is_meta
        }

    @contextmanager
    def filled(
        self, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
    ) -> Iterator[nn.Module]:
        """The model with these weights and buffers, in evaluation; blank again afterwards."""
        for name, value in buffers.items():
            owner, _, leaf = name.rpartition(".")
            self._module.get_submodule(owner)._buffers[leaf] = value
        self._module.load_state_dict(weights, strict=False, assign=True)
        try:
            yield self._module.eval()
        finally:
            self._module.load_state_dict({**self._blank, **self.frozen}, strict=False, assign=True)


class Portable:
    """Whole tensors of a model that may be sharded, one parameter at a time.

    Args:
        process: this one among the others.
        spread: how the model is spread over them.
    """

    def __init__(self, process: Process, spread: Spread) -> None:
        self._process = process
        self._spread = spread
        self._template: Template | None = None

    def share(self, model: nn.Module) -> None:
        """Gives every rank rank 0's weights, before the model is wrapped (collective)."""
        for value in (*model.parameters(), *persistent_buffers(model).values()):
            held = value.data
            held.copy_(self._process.from_main(held, held.shape, held.dtype))
        if not self._spread.whole:
            self._template = Template(model)

    def put_slots(self, bare: nn.Module, optimizer: Optimizer, slots: Mapping[str, Tensor]) -> None:
        """Scatters rank 0's optimizer slots, after the model was wrapped (collective)."""
        shapes = self._process.broadcast_object({key: value.shape for key, value in slots.items()})
        for name, parameter in trained(bare).items():
            keys = {slot: f"{slot}.{name}" for slot in SLOTS if f"{slot}.{name}" in shapes}
            held = {
                slot: self._process.from_main(slots.get(key), shapes[key], torch.float32)
                for slot, key in keys.items()
            }
            if held:
                self._spread.put_slots(optimizer, parameter, held)

    def gather(self, bare: nn.Module, optimizer: Optimizer) -> FullState:
        """The whole state in rank 0's host memory (collective); empty on the other ranks."""
        found, main = FullState(), self._process.is_main
        for name, weight in self._whole_weights(bare):
            if main:
                found.weights[name] = to_host(weight)
        for name, parameter in trained(bare).items():
            for slot, value in self._spread.slots(optimizer, parameter).items():
                if main:
                    found.slots[f"{slot}.{name}"] = to_host(value)
        if main:
            kept = persistent_buffers(bare)
            found.weights.update((name, to_host(value)) for name, value in kept.items())
        return found

    def _whole_weights(self, bare: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Every parameter of the bare model (collective)."""
        for name, parameter in bare.named_parameters():
            if self._template is not None and name in self._template.frozen:
                yield name, self._template.frozen[name]
            else:
                yield name, self._spread.weight(parameter)

    @contextmanager
    def evaluation(self, bare: nn.Module) -> Iterator[nn.Module]:
        """As ``Runtime.evaluation``."""
        if self._template is None:
            yield bare
            return
        device = self._process.device
        weights = {name: value.to(device) for name, value in self._whole_weights(bare)}
        with self._template.filled(weights, dict(bare.named_buffers())) as full:
            yield full
