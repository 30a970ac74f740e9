"""DDP, and one process alone: every rank holds the whole model."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.spread import Spread

MOST_SKIPS = 25  # fp16 steps skipped in a row before the run is called diverged


class Ddp(Spread):
    """Data parallel by Accelerate; gradients travel in the step's last micro-batch."""

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__(accelerator.device)
        self._accelerator = accelerator
        self._skips = 0

    def wrap(
        self, model: nn.Module, optimizer: Optimizer, whole: Callable[[str], Tensor] | None
    ) -> tuple[nn.Module, Optimizer]:
        """As ``Spread.wrap``."""
        del whole
        wrapped, optimizer = self._accelerator.prepare(model, optimizer)
        if self._accelerator.num_processes > 1 and not isinstance(wrapped, DistributedDataParallel):
            raise TrainingError(f"asked for DDP, Accelerate made a {type(wrapped).__name__}")
        return wrapped, optimizer

    def unwrap(self, model: nn.Module) -> nn.Module:
        """As ``Spread.unwrap``."""
        # Accelerate's own unwrapping imports DeepSpeed wherever that is installed.
        return model.module if isinstance(model, DistributedDataParallel) else model

    def accumulate(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """As ``Spread.accumulate``."""
        if last or not isinstance(model, DistributedDataParallel):
            return nullcontext()
        return cast("AbstractContextManager[None]", model.no_sync())

    def backward(self, loss: Tensor) -> None:
        """As ``Spread.backward``."""
        self._accelerator.backward(loss)

    def gradient_norm(self, model: nn.Module, optimizer: Optimizer) -> Tensor:
        """As ``Spread.gradient_norm``."""
        self._accelerator.unscale_gradients(optimizer)
        return super().gradient_norm(model, optimizer)

    def update(
        self, model: nn.Module, optimizer: Optimizer, *, norm: float, clip_norm: float
    ) -> bool:
        """As ``Spread.update``.

        Raises:
            TrainingError: too many fp16 steps in a row overflowed.
        """
        super().update(model, optimizer, norm=norm, clip_norm=clip_norm)
        skipped = bool(getattr(optimizer, "step_was_skipped", False))
        self._skips = self._skips + 1 if skipped else 0
        if self._skips > MOST_SKIPS:
            raise TrainingError(
                f"{self._skips} fp16 steps in a row overflowed: use train.precision bf16 or fp32"
            )
        return skipped
