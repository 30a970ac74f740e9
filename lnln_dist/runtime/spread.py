"""What every way of spreading a model over ranks has to do; shared by all of them."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn
from torch.optim import Optimizer

SLOTS = ("exp_avg", "exp_avg_sq", "step")  # of AdamW, per parameter


class Spread:
    """One way of spreading a model over ranks; methods marked collective run on all of them.

    What stands here serves a model of plain parameters and torch's own optimizer.

    Args:
        device: of this rank.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def wrap(
        self, model: nn.Module, optimizer: Optimizer, whole: Callable[[str], Tensor] | None
    ) -> tuple[nn.Module, Optimizer]:
        """Places the model on the device and wraps both (collective).

        Args:
            model: with rank 0's weights, or nothing but shapes where no rank is to hold it whole.
            optimizer: over its parameters.
            whole: gives rank 0's tensor of a name where there are only shapes (collective).

        Raises:
            TrainingError: what came out is not what was asked for.
        """
        raise NotImplementedError

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The bare module; its parameters may be sharded."""
        return model

    def accumulate(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Around a micro-batch's forward and backward pass; ``last`` is the step's last."""
        del model, last
        return nullcontext()

    def settle(self, model: nn.Module) -> None:
        """After forward passes that no backward pass followed."""

    def backward(self, loss: Tensor) -> None:
        """Adds gradients; they are averaged over ranks."""
        torch.autograd.backward(loss)

    def gradient_norm(self, model: nn.Module, optimizer: Optimizer) -> Tensor:
        """Norm of the step's gradients over all ranks, not finite if they are not (collective).

        A scalar on the device: whoever reads it waits for the device.
        """
        grads = [p.grad for p in _held(model, optimizer) if p.grad is not None]
        return self._whole(torch.nn.utils.get_total_norm(grads))

    def update(
        self, model: nn.Module, optimizer: Optimizer, *, norm: float, clip_norm: float
    ) -> bool:
        """Clips, updates and forgets the gradients (collective); True if the update was skipped."""
        if clip_norm and norm < float("inf"):
            total = torch.tensor(norm, device=self._device)
            torch.nn.utils.clip_grads_with_norm_(_held(model, optimizer), clip_norm, total)
        optimizer.step()
        model.zero_grad(set_to_none=True)  # those of another optimizer's parameters, too
        return False

    def weight(self, parameter: nn.Parameter) -> Tensor:
        """A parameter as a whole, float32 (collective); right on rank 0."""
        return self._whole(parameter.detach())

    def slots(self, optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's optimizer slots as whole tensors (collective); {} before the first step."""
        held = optimizer.state.get(parameter, {})
        return {name: self._whole(value) for name, value in held.items()}

    def put_slots(
        self, optimizer: Optimizer, parameter: nn.Parameter, slots: dict[str, Tensor]
    ) -> None:
        """Sets what ``slots`` gives."""
        # The step count stays in host memory, where AdamW keeps it.
        optimizer.state[parameter] = {
            name: value.cpu() if name == "step" else self._own_part(value, parameter)
            for name, value in slots.items()
        }

    def close(self) -> None:
        """Lets go of what ``wrap`` made."""

    def leave(self) -> None:
        """Leaves the process group."""
        torch.distributed.destroy_process_group()

    def _whole(self, value: Tensor) -> Tensor:
        """A tensor of the model put together (collective)."""
        return value

    def _own_part(self, value: Tensor, like: Tensor) -> Tensor:
        """The part of a whole tensor that this rank holds, cut as ``like`` is."""
        return value.to(like.device)


def _held(model: nn.Module, optimizer: Optimizer) -> list[nn.Parameter]:
    """The parameters that an optimizer updates, in the model's order."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [p for p in model.parameters() if id(p) in held]


def cast_forward(model: nn.Module, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
    """Makes ``model`` run under ``autocast`` and return float32."""
    bare = model.forward

    @functools.wraps(bare)
    def forward(*args: Any, **kwargs: Any) -> Any:
        with autocast():
            outputs = bare(*args, **kwargs)
        return convert_outputs_to_fp32(lambda: outputs)()

    model.forward = forward


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, each once, and all buffers by name."""
    buffers = dict(model.named_buffers(remove_duplicate=False))
    return {name: p.data for name, p in model.named_parameters()} | buffers


def swap_parameters(
    model: nn.Module, optimizer: Optimizer, make: Callable[[str, nn.Parameter], nn.Parameter]
) -> None:
    """Puts ``make(name, parameter)`` in the place of every parameter, in the optimizer too."""
    old = dict(model.named_parameters())
    new = {id(p): make(name, p) for name, p in old.items()}
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:  # by identity: what is tied stays tied
                module._parameters[name] = new[id(p)]
    for group in optimizer.param_groups:
        group["params"] = [new[id(p)] for p in group["params"]]


def fill_buffers(model: nn.Module, whole: Callable[[str], Tensor]) -> None:
    """Puts ``whole(name)`` in the place of every buffer."""
    for name in dict(model.named_buffers(remove_duplicate=False)):
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner)._buffers[leaf] = whole(name).clone()


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trained parameters by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def signed_nan(norm: Tensor) -> Tensor:
    """A norm; ZeRO's sign for "not finite", a negative one, becomes NaN."""
    return torch.where(norm >= 0, norm, torch.nan)
