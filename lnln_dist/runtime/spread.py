"""What every way of spreading a model over ranks has to do; shared by all of them."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn
from torch.optim import Optimizer

SLOTS = ("exp_avg", "exp_avg_sq", "step")  # of AdamW, per parameter


class Spread(Protocol):
    """One way of spreading a model over ranks; methods marked collective run on all of them."""

    whole: bool
    """Whether ``unwrap`` gives a module with all weights in float32 on every rank."""

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Places the model on the device and wraps both (collective).

        Raises:
            TrainingError: what came out is not what was asked for.
        """
        ...

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The bare module; its parameters may be sharded."""
        ...

    def accumulate(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Around a micro-batch's forward and backward pass; ``last`` is the step's last."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Adds gradients; they are averaged over ranks."""
        ...

    def gradient_norm(self, model: nn.Module, optimizer: Optimizer) -> float:
        """Norm of the step's gradients over all ranks, not finite if they are not (collective)."""
        ...

    def update(
        self, model: nn.Module, optimizer: Optimizer, *, norm: float, clip_norm: float
    ) -> bool:
        """Clips, updates and forgets the gradients (collective); True if the update was skipped."""
        ...

    def weight(self, parameter: nn.Parameter) -> Tensor:
        """A trained parameter as a whole, float32 (collective)."""
        ...

    def slots(self, optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's optimizer slots as whole tensors (collective); {} before the first step."""
        ...

    def put_slots(
        self, optimizer: Optimizer, parameter: nn.Parameter, slots: dict[str, Tensor]
    ) -> None:
        """Sets what ``slots`` gives."""
        ...

    def close(self) -> None:
        """Lets go of what ``wrap`` made."""
        ...

    def leave(self) -> None:
        """Leaves the process group."""
        ...


def cast_forward(model: nn.Module, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
    """Makes ``model`` run under ``autocast`` and return float32."""
    bare = model.forward

    @functools.wraps(bare)
    def forward(*args: Any, **kwargs: Any) -> Any:
        with autocast():
            outputs = bare(*args, **kwargs)
        return convert_outputs_to_fp32(lambda: outputs)()

    model.forward = forward


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trained parameters by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def as_float(norm: Tensor | float) -> float:
    """A norm as a number; ZeRO's sign for "not finite", a negative one, becomes NaN."""
    value = float(norm)
    return value if value >= 0 else torch.nan
