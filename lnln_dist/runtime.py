"""Processes, devices and precision: the only importer of Accelerate.

A step's numbers do not depend on how many processes made them: every term is a sum over samples
divided by the step's global sample count, and DDP's averaging is undone by multiplying with the
number of processes.
"""

import contextlib
import hashlib
import os
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object, send_to_device
from torch import Tensor, nn

from lnln_dist.errors import TrainingError, UserError
from lnln_dist.types import Batch

T = TypeVar("T")
Precision = Literal["fp32", "bf16", "fp16"]
_ACCELERATE = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
MOST_SKIPS = 25  # fp16 steps skipped in a row before the run is called diverged


class StepResult(NamedTuple):
    """What one optimizer step did; the same on every rank."""

    terms: dict[str, float]  # global means of the loss terms
    grad_norm: float  # before clipping
    skipped: bool  # fp16 only: the loss scale was too high, no update was made


class Runtime:
    """One process of a run and its view of the others.

    Args:
        precision: arithmetic of the forward pass.
        cpu: run on the CPU; None uses a GPU where there is one.
        timeout_s: seconds after which a collective that a peer does not join fails.

    Raises:
        TrainingError: the launch is not what it looks like (one process where several were asked
            for, fp16 without a GPU, another precision in the launcher, an unsupported strategy).
    """

    def __init__(
        self, *, precision: Precision = "fp32", cpu: bool | None = None, timeout_s: float = 1800
    ) -> None:
        on_cpu = not torch.cuda.is_available() if cpu is None else cpu
        _check_launch(precision, on_cpu)
        # The state is process-wide: what an earlier run of this process asked for must not stay.
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(
            mixed_precision=_ACCELERATE[precision],
            cpu=on_cpu,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=timeout_s))],
        )
        self.precision = precision
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.is_main: bool = self.accelerator.is_main_process
        self.device: torch.device = self.accelerator.device
        self._skips = 0
        wanted = int(os.environ.get("WORLD_SIZE", "1"))
        if self.world != wanted:
            raise TrainingError(
                f"launched as one of {wanted} processes but Accelerate set up {self.world}; "
                "on a machine without GPUs use `accelerate launch --multi_gpu --num_processes N` "
                "with ACCELERATE_USE_CPU=true"
            )

    def prepare(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Places the model on the device and wraps both for this launch."""
        return cast(
            "tuple[nn.Module, torch.optim.Optimizer]", self.accelerator.prepare(model, optimizer)
        )

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The module below DDP and precision wrappers."""
        return cast("nn.Module", self.accelerator.unwrap_model(model))

    @contextlib.contextmanager
    def accumulate(self, model: nn.Module, *, last: bool) -> Iterator[None]:
        """Gradients travel between processes only in the step's last micro-batch."""
        with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
            yield

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The forward pass's precision."""
        return cast("contextlib.AbstractContextManager[None]", self.accelerator.autocast())

    def backward(self, loss: Tensor) -> None:
        """Adds this rank's gradients of its share of the global mean."""
        self.accelerator.backward(loss * self.world)

    def check_clip_step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        terms: Mapping[str, Tensor],
        clip_norm: float,
    ) -> StepResult:
        """Sums the terms over ranks, stops if anything is not finite, else clips and updates.

        Args:
            terms: this rank's share of the global mean per loss term.
            clip_norm: largest gradient norm; 0 only measures it.

        Raises:
            TrainingError: a term or the gradient is not finite on some rank; nothing was updated.
        """
        means = self.sum_over_ranks(terms)
        wrong = {name: value for name, value in means.items() if not np.isfinite(value)}
        if wrong:
            raise TrainingError(
                f"loss not finite before the update ({wrong}): lower optim.lr or look at the data "
                "with lnln-dist verify; the last checkpoint is intact"
            )
        self.accelerator.unscale_gradients(optimizer)
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norm_tensor = torch.nn.utils.get_total_norm(grads)
        norm = float(norm_tensor)
        if not np.isfinite(norm) and self.precision != "fp16":
            raise TrainingError(
                "gradient not finite before the update: lower optim.lr, set optim.clip_norm or "
                "train in fp32; the last checkpoint is intact"
            )
        if clip_norm and np.isfinite(norm):
            torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip_norm, norm_tensor)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return StepResult(means, norm, self._count_skip(optimizer))

    def _count_skip(self, optimizer: torch.optim.Optimizer) -> bool:
        skipped = bool(getattr(optimizer, "step_was_skipped", False))
        self._skips = self._skips + 1 if skipped else 0
        if self._skips > MOST_SKIPS:
            raise TrainingError(
                f"{self._skips} fp16 steps in a row overflowed: use train.precision bf16 or fp32"
            )
        return skipped

    def sum_over_ranks(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Sums scalars over all ranks in one collective (float64)."""
        names = sorted(values)
        packed = torch.stack([values[n].detach().double().reshape(()) for n in names])
        total = cast("Tensor", self.accelerator.reduce(packed, reduction="sum"))
        return dict(zip(names, total.tolist(), strict=True))

    def gather_objects(self, value: object) -> list[Any]:
        """One value per rank, in rank order, on every rank."""
        return cast("list[Any]", gather_object([value])) if self.world > 1 else [value]

    def broadcast_object(self, value: object) -> Any:
        """Rank 0's value on every rank."""
        return self.gather_objects(value)[0]

    def on_main(self, action: Callable[[], T]) -> T:
        """Runs ``action`` on rank 0; its result, or its ``UserError``, reaches every rank."""
        outcome: tuple[T | None, UserError | None] = (None, None)
        if self.is_main:
            try:
                outcome = (action(), None)
            except UserError as err:
                outcome = (None, err)
        value, error = self.broadcast_object(outcome)
        if error is not None:
            raise error
        return cast("T", value)

    def barrier(self) -> None:
        """Waits for all ranks."""
        self.accelerator.wait_for_everyone()

    def to_device(self, batch: Batch) -> Batch:
        """The batch on this rank's device."""
        if self.device.type == "cpu":
            return batch
        return cast("Batch", send_to_device(batch, self.device, non_blocking=True))

    def seed(self, *position: int) -> None:
        """Sets every generator from a position such as (seed, step, micro-batch, rank).

        Dropout is thereby a function of the position: a resumed run draws what the undisturbed one
        would have drawn, and no generator state needs saving.
        """
        text = ",".join(map(str, position)).encode()
        value = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") % 2**63
        torch.manual_seed(value)
        np.random.seed(value % 2**32)
        random.seed(value)

    def peak_memory(self) -> int:
        """Most bytes this rank held: GPU memory, or resident memory on the CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def scaler_state(self) -> dict[str, Any]:
        """The fp16 loss scale; empty in other precisions."""
        scaler = self.accelerator.scaler
        return dict(scaler.state_dict()) if scaler is not None else {}

    def load_scaler(self, state: dict[str, Any]) -> None:
        """Puts a saved loss scale back."""
        if self.accelerator.scaler is not None and state:
            self.accelerator.scaler.load_state_dict(state)

    def close(self) -> None:
        """Leaves the process group."""
        if self.world > 1 and torch.distributed.is_initialized():
            with contextlib.suppress(Exception):
                torch.distributed.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)


def _check_launch(precision: Precision, on_cpu: bool) -> None:
    """Refuses launches that Accelerate would change in silence."""
    if precision == "fp16" and on_cpu:
        raise TrainingError(
            "train.precision fp16 needs a GPU (a CPU would run fp32 in silence): use bf16 or fp32"
        )
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION", _ACCELERATE[precision])
    if launcher not in (_ACCELERATE[precision], "no"):
        raise TrainingError(
            f"accelerate launch says mixed_precision {launcher}, the config train.precision "
            f"{precision}: set train.precision to match"
        )
    for variable, name in (
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_FSDP", "FSDP"),
    ):
        if os.environ.get(variable, "false").lower() == "true":
            raise TrainingError(
                f"the launch asks for {name}, which this version does not train with: use a "
                "--multi_gpu (DDP) launch"
            )
