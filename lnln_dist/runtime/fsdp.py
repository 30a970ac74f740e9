"""FSDP2: parameters, gradients and optimizer state cut over the ranks by ``fully_shard``."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.spread import Spread, cast_forward, fill_buffers


class Fsdp(Spread):
    """Fully sharded data parallel.

    Each layer of every ``nn.ModuleList`` is a unit that is gathered for its forward and backward
    pass; the rest of the model is one unit more. Gradients are cut after every micro-batch, so
    that accumulation needs no whole gradient.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        world: int,
        half: bool,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        super().__init__(device)
        self._world = world
        self._half = half
        self._autocast = autocast

    def wrap(
        self, model: nn.Module, optimizer: Optimizer, whole: Callable[[str], Tensor] | None
    ) -> tuple[nn.Module, Optimizer]:
        """As ``Spread.wrap``."""
        assert whole is not None
        cast_forward(model, self._autocast)
        mesh = init_device_mesh(self._device.type, (self._world,))
        # Inputs are left alone: labels and weights of samples must not be rounded.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if self._half else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        names = {id(p): name for name, p in model.named_parameters()}
        lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
        for layers in reversed(lists):  # inner lists first
            for layer in layers:
                fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)
        model.to_empty(device=self._device)  # of the own shards
        cut = dict(model.named_parameters())
        for name, parameter in cut.items():
            if not isinstance(parameter, DTensor):
                raise TrainingError(f"asked for fsdp2, but {name} is not sharded")
            parameter.data.copy_(self._own_part(whole(name), parameter))
        fill_buffers(model, whole)
        for group in optimizer.param_groups:
            group["params"] = [cut[names[id(p)]] for p in group["params"]]
        return model, optimizer

    def settle(self, model: nn.Module) -> None:
        """As ``Spread.settle``."""
        # The outermost unit stays whole for a backward pass; saving would not find its slots.
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _whole(self, value: Tensor) -> Tensor:
        return value.full_tensor() if isinstance(value, DTensor) else value

    def _own_part(self, value: Tensor, like: Tensor) -> DTensor:
        assert isinstance(like, DTensor)
        # Every rank has the whole tensor and keeps its own part: nothing is sent.
        return distribute_tensor(
            value.to(self._device), like.device_mesh, like.placements, src_data_rank=None
        )
