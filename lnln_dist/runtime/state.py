"""A training's whole state, whatever strategy it ran under, and a model whole on one rank."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lnln_dist.errors import CheckpointError


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
