"""FSDP2: parameters, gradients and optimizer state cut over the ranks by ``fully_shard``."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.spread import cast_forward, fill_buffers


class Fsdp:
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
        self._device = device
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

    def _own_part(self, value: Tensor, like: DTensor) -> DTensor:
        # Every rank has the whole tensor and keeps its own part: nothing is sent.
        return distribute_tensor(
            value.to(self._device), like.device_mesh, like.placements, src_data_rank=None
        )

    def unwrap(self, model: nn.Module) -> nn.Module:
        """As ``Spread.unwrap``."""
        return model

    def accumulate(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """As ``Spread.accumulate``."""
        del model, last
        return nullcontext()

    def settle(self, model: nn.Module) -> None:
        """As ``Spread.settle``."""
        # The outermost unit stays whole for a backward pass; saving would not find its slots.
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def backward(self, loss: Tensor) -> None:
        """As ``Spread.backward``."""
        torch.autograd.backward(loss)

    def gradient_norm(self, model: nn.Module, optimizer: Optimizer) -> Tensor:
        """As ``Spread.gradient_norm``."""
        del optimizer
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        return _whole(norm)

    def update(
        self, model: nn.Module, optimizer: Optimizer, *, norm: float, clip_norm: float
    ) -> bool:
        """As ``Spread.update``."""
        if clip_norm:
            total = torch.tensor(norm, device=self._device)
            torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip_norm, total)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return False

    def weight(self, parameter: nn.Parameter) -> Tensor:
        """As ``Spread.weight``."""
        return _whole(parameter.detach())

    def slots(self, optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
        """As ``Spread.slots``."""
        return {name: _whole(value) for name, value in optimizer.state.get(parameter, {}).items()}

    def put_slots(
        self, optimizer: Optimizer, parameter: nn.Parameter, slots: dict[str, Tensor]
    ) -> None:
        """As ``Spread.put_slots``."""
        assert isinstance(parameter, DTensor)
        optimizer.state[parameter] = {
            name: value.cpu() if name == "step" else self._own_part(value, parameter)
            for name, value in slots.items()
        }

    def close(self) -> None:
        """As ``Spread.close``."""

    def leave(self) -> None:
        """As ``Spread.leave``."""
        torch.distributed.destroy_process_group()


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value
