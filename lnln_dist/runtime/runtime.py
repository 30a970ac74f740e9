"""What training needs of its process: the seam between the loop and the strategies.

A step's numbers do not depend on how many processes made them, nor on how the model is spread
over them: every term is a sum over samples divided by the step's global sample count, and the
averaging over processes is undone by multiplying with their number.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, distributed, nn

from lnln_dist.config import Strategy
from lnln_dist.errors import TrainingError, UserError
from lnln_dist.runtime.ddp import Ddp
from lnln_dist.runtime.launch import Launch, Precision, read_launch
from lnln_dist.runtime.launcher import check_variables
from lnln_dist.runtime.meeting import Peers, meeting
from lnln_dist.runtime.process import Process
from lnln_dist.runtime.spread import Spread
from lnln_dist.runtime.state import (
    FullState,
    deal_slots,
    install_weights,
    share_weights,
    take_out,
    whole_slots,
    whole_weights,
)

M = TypeVar("M")

DRAIN_S = 0.2  # wait around leaving a process group


def _mark(number: int) -> str:
    """What the names of an optimizer's slots begin with in a checkpoint; none for the first."""
    return f"{number}/" if number else ""


class StepResult(NamedTuple):
    """What one optimizer step did; the same on every rank."""

    terms: dict[str, float]  # global means of the loss terms and of what is only shown
    grad_norm: float  # before clipping
    skipped: bool  # fp16 only: the loss scale was too high, no update was made


class Runtime(Process):
    """One process of a run and its view of the others.

    Args:
        precision: arithmetic of the forward pass.
        cpu: run on the CPU; None uses a GPU where there is one.
        timeout_s: seconds after which a collective that a peer does not join fails.
        strategy: how the model is spread over the ranks; auto is what the launcher asks for.
        offload: ZeRO with the optimizer's state in host memory; a launcher may ask for it, too.
        agree: compares what ranks were started with, before anything else needs them to be alike.
        told: whether this rank was told to leave, while it waits for the others.

    Raises:
        TrainingError: the launch is not what it looks like, or not what the arguments ask for, or
            a rank is missing.
    """

    def __init__(
        self,
        *,
        precision: Precision = "fp32",
        cpu: bool | None = None,
        timeout_s: float = 1800,
        strategy: Strategy | Literal["auto"] = "auto",
        offload: bool = False,
        agree: Callable[[Peers, Launch], None] | None = None,
        told: Callable[[], bool] = lambda: False,
    ) -> None:
        check_variables(os.environ)
        self.launch: Launch = read_launch(
            precision=precision, strategy=strategy, offload=offload, cpu=cpu
        )
        self.precision = precision
        with meeting(self.launch.world, timedelta(seconds=timeout_s), told=told) as met:
            if agree and met:
                agree(met, self.launch)
            super().__init__(self.launch, timedelta(seconds=timeout_s))
        if agree and not met:
            agree(self, self.launch)
        self._spread = self._make_spread()

    def _make_spread(self) -> Spread:
        if self.launch.strategy == "ddp":
            return Ddp(self.accelerator)
        if not distributed.is_initialized():  # one process; the others need a group all the same
            distributed.init_process_group(
                "gloo" if self.launch.on_cpu else "nccl",
                rank=0,
                world_size=1,
                store=distributed.HashStore(),  # type: ignore[attr-defined]
                timeout=self.timeout,
            )
        if self.launch.stage:
            # Not at the top: an evaluation has no use for it, a DDP run must not import DeepSpeed.
            from lnln_dist.runtime.zero import Zero

            return Zero(
                launch=self.launch,
                device=self.device,
                timeout=self.timeout,
                autocast=self.autocast,
            )
        from lnln_dist.runtime.fsdp import Fsdp

        half = self.precision == "bf16"
        return Fsdp(device=self.device, world=self.world, half=half, autocast=self.autocast)

    def build(self, make: Callable[[bool], M]) -> M:
        """A bare model as ``make`` builds it (collective).

        Where no rank is to hold all weights, only rank 0 gets them, in host memory; the others
        get shapes on the meta device.

        Args:
            make: told whether contents are wanted.

        Raises:
            UserError: building it on rank 0 failed.
            TrainingError: it cannot be built without contents.
        """
        if not self.launch.sharded:
            return make(True)
        held: list[M] = []
        self.on_main(lambda: held.append(make(True)))

        def shapes_alone() -> None:
            if self.is_main:
                return
            try:
                with torch.device("meta"):
                    held.append(make(False))
            except (RuntimeError, UserError) as err:
                raise TrainingError(
                    f"{self.launch.strategy} needs a model that can be built on torch's meta "
                    f"device, whose tensors have no contents to look at "
                    f"({' '.join(str(err).split())[:200]}): use zero2, or build it without reading "
                    "tensors"
                ) from err

        self.on_all(shapes_alone)
        return held[0]

    def prepare(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        start: FullState | None = None,
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Places the model on the device and wraps both for this launch (collective).

        Every rank starts from rank 0's weights.

        Args:
            model: the bare model, on the CPU; see ``build``.
            optimizer: AdamW over its parameters that has not made a step.
            start: what to go on from, whole on rank 0 and empty elsewhere; None starts afresh.

        Raises:
            CheckpointError: ``start`` belongs to another network.
            TrainingError: what came out is not what was asked for.
        """
        if start is not None:
            self.on_main(lambda: install_weights(model, start.weights))
        if self.launch.sharded:
            whole = take_out(self, model, optimizer)
            wrapped, optimizer = self._spread.wrap(model, optimizer, whole)
        else:
            share_weights(self, model)
            wrapped, optimizer = self._spread.wrap(model, optimizer, None)
        if start is not None:
            deal_slots(self, self._spread, self.unwrap(wrapped), optimizer, start.slots)
            scaler = self.broadcast_object(start.scaler)
            if self.accelerator.scaler is not None and scaler:
                self.accelerator.scaler.load_state_dict(scaler)
        return wrapped, optimizer

    def add_optimizer(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        start: FullState | None,
        *,
        number: int,
    ) -> torch.optim.Optimizer:
        """One more optimizer over a model that ``prepare`` wrapped (collective); DDP alone.

        Args:
            model: as ``prepare`` returned it.
            optimizer: AdamW over some of the parameters of the bare model.
            start: as ``prepare``.
            number: which one it is, 1 for the second.

        """
        added: torch.optim.Optimizer = self.accelerator.prepare_optimizer(optimizer)
        if start is not None:
            mark = _mark(number)
            own = {k.removeprefix(mark): v for k, v in start.slots.items() if k.startswith(mark)}
            deal_slots(self, self._spread, self.unwrap(model), added, own)
        return added

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """All weights in float32, gathered onto rank 0 (collective); {} on the other ranks."""
        return whole_weights(self, self._spread, self.unwrap(model))

    def full_state(self, model: nn.Module, *optimizers: torch.optim.Optimizer) -> FullState:
        """The whole state, gathered onto rank 0 (collective); empty on the other ranks.

        Args:
            model: as ``prepare`` returned it.
            optimizers: the one of ``prepare``, then those added, in their order.
        """
        slots: dict[str, Tensor] = {}
        for number, optimizer in enumerate(optimizers):
            own = whole_slots(self, self._spread, self.unwrap(model), optimizer)
            slots |= {_mark(number) + key: value for key, value in own.items()}
        full = FullState(weights=self.weights(model), slots=slots)
        if self.is_main and self.accelerator.scaler is not None:
            full.scaler.update(self.accelerator.scaler.state_dict())
        return full

    @contextlib.contextmanager
    def evaluation(self, model: nn.Module) -> Iterator[nn.Module]:
        """The module to evaluate, in evaluation mode for as long as the block.

        Where weights are cut over ranks it is the wrapped module: all ranks have to run the same
        number of forward passes. Elsewhere it is the bare one. ZeRO and FSDP2 evaluate with the
        weights that training multiplies with, rounded in bf16.
        """
        module = model if self.launch.sharded else self.unwrap(model)
        before = model.training
        model.eval()
        try:
            yield module
        finally:
            self._spread.settle(model)
            model.train(before)

    def without_gradients(self) -> contextlib.AbstractContextManager[Any]:
        """Around forward passes that no backward pass follows."""
        # Sharded parameters outlive the block: training could not go on with inference tensors.
        return torch.no_grad() if self.launch.sharded else torch.inference_mode()

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The module below its wrappers; its parameters may be sharded."""
        return self._spread.unwrap(model)

    def accumulate(
        self, model: nn.Module, *, last: bool
    ) -> contextlib.AbstractContextManager[None]:
        """Around a micro-batch's forward and backward pass; ``last`` is the step's last."""
        return self._spread.accumulate(model, last=last)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The forward pass's precision."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)

    def backward(self, loss: Tensor) -> None:
        """Adds this rank's gradients of its share of the global mean."""
        self._spread.backward(loss * self.world)

    def check_clip_step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        terms: Mapping[str, Tensor],
        clip_norm: float,
        shown: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> StepResult:
        """Sums the terms over ranks, stops if one is not finite, else clips and updates.

        Here, and nowhere else in a step, the host waits for the device (ZeRO and the loss scaling
        of fp16 look at it again in the update, ``gather_samples`` after it).

        Args:
            model: as ``prepare`` returned it.
            optimizer: as ``prepare`` returned it.
            terms: this rank's share of the global mean per loss term.
            clip_norm: largest gradient norm; 0 only measures it.
            shown: summed with the terms; may be anything, since nothing is trained by it.

        Raises:
            TrainingError: a term or the gradient is not finite on some rank; nothing was updated.
        """
        held = self._spread.gradient_norm(model, optimizer)
        ordered = dict(sorted({**terms, **shown}.items()))  # alike on all ranks
        *sums, norm = self.sum_over_ranks(ordered, held)
        means = dict(zip(ordered, sums, strict=True))
        wrong = {name: means[name] for name in terms if not np.isfinite(means[name])}
        if wrong:
            raise TrainingError(
                f"loss not finite before the update ({wrong}): lower optim.lr, train in bf16 or "
                "fp32 (train.precision), or scale the feature columns that lnln-dist verify warns "
                "of; the last checkpoint is intact"
            )
        if not np.isfinite(norm) and self.precision != "fp16":
            raise TrainingError(
                "gradient not finite before the update: lower optim.lr, set optim.clip_norm or "
                "train in fp32; the last checkpoint is intact"
            )
        skipped = self._spread.update(model, optimizer, norm=norm, clip_norm=clip_norm)
        return StepResult(means, norm, skipped)

    def close(self, *, failed: bool = False) -> None:
        """Lets go of the model, and of the process group if this runtime made it.

        Args:
            failed: an error of this rank, perhaps of no other, is still to be told.
        """
        if failed and self._has_cards_that_wait():
            # To leave an NCCL group waits for what peers have begun, and so would freeing what its
            # kernels use: the error would be told after the time-out, or never.
            with contextlib.suppress(Exception):
                distributed.distributed_c10d._abort_process_group()
            AcceleratorState._reset_state(reset_partial_state=True)
            return
        self._spread.close()
        if self._owns_group and distributed.is_initialized():
            # A thread of gloo may still wait for the interpreter to drop its last tensor. Did the
            # group or the process end meanwhile, it would hang for ever or end by SIGABRT
            # (torch 2.13): sleeping hands the interpreter over.
            time.sleep(DRAIN_S)
            with contextlib.suppress(Exception):  # a peer may be gone already
                self._spread.leave()
            time.sleep(DRAIN_S)
        AcceleratorState._reset_state(reset_partial_state=True)

    def _has_cards_that_wait(self) -> bool:
        """Whether other ranks may be within a collective of this runtime's own NCCL group."""
        if self.world == 1 or not self._owns_group or not distributed.is_initialized():
            return False
        return distributed.get_backend() == "nccl"
