"""DeepSpeed ZeRO 1, 2 and 3, held to the same arithmetic as DDP.

The engine's own accumulation, clipping and division are switched off (``zero_config``): this
module tells it when a step ends, reads the norm before the update, and only then lets it step.
How its float32 weights and optimizer slots are read and written is in ``partitions``.
"""

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.launch import Launch
from lnln_dist.runtime.partitions import Partitions
from lnln_dist.runtime.strategy import as_float, cast_forward, trained
from lnln_dist.runtime.zero_config import deepspeed_config


class Zero:
    """A DeepSpeed engine behind the common seam."""

    def __init__(
        self,
        *,
        launch: Launch,
        device: torch.device,
        timeout: timedelta,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._config = deepspeed_config(launch)
        self._launch = launch
        self._device = device
        self._timeout = timeout
        self._autocast = autocast
        self._engine: Any = None
        self._partitions: Partitions | None = None
        self._linear = torch.nn.functional.linear
        self._added: list[str] = []
        self.whole = launch.stage < 3 and launch.precision == "fp32"

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """As ``Strategy.wrap``."""
        cast_forward(model, self._autocast)
        exact = {}
        if self._launch.precision == "bf16":
            # The engine would take its float32 weights from the rounded ones.
            exact = {name: p.detach().clone() for name, p in trained(model).items()}
        self._added = _fill_environment(self._launch)
        self._engine, wrapped, _, _ = _import().initialize(
            model=model, optimizer=optimizer, config=self._config, dist_init_required=False
        )
        self._bound_waiting()
        self._check()
        self._partitions = Partitions(self._engine, stage=self._launch.stage)
        for name, parameter in trained(model).items():
            if name in exact:
                self._partitions.put(parameter, exact[name].to(self._device))
        return cast("nn.Module", self._engine), wrapped

    def _check(self) -> None:
        """Raises unless the engine is what was asked for."""
        engine, launch = self._engine, self._launch
        found = {
            "ZeRO stage": (engine.zero_optimization_stage(), launch.stage),
            "offload": (bool(engine.zero_use_cpu_optimizer()), launch.offload),
            "bf16": (bool(engine.bfloat16_enabled()), launch.precision == "bf16"),
            "optimizer": (type(engine.optimizer.optimizer).__name__, "AdamW"),
        }
        for name, (is_, wanted) in found.items():
            if is_ != wanted:
                raise TrainingError(f"asked DeepSpeed for {name} {wanted}, it set up {is_}")

    def _bound_waiting(self) -> None:
        """Gives DeepSpeed's own process groups the run's time-out (torch's default is longer)."""
        distributed = torch.distributed.distributed_c10d
        for group in list(distributed._world.pg_map):
            distributed._set_pg_timeout(self._timeout, group)

    def unwrap(self, model: nn.Module) -> nn.Module:
        """As ``Strategy.unwrap``."""
        return cast("nn.Module", model.module)

    def accumulate(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """As ``Strategy.accumulate``."""
        del model
        self._engine.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """As ``Strategy.backward``."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def gradient_norm(self, model: nn.Module, optimizer: Optimizer) -> float:
        """As ``Strategy.gradient_norm``."""
        del model, optimizer
        held = self._engine.optimizer
        if self._launch.stage < 3:
            return as_float(held.scaled_global_norm())
        parts = [as_float(norm) for norm in held._get_norm_groups()]
        return float(torch.tensor(parts).norm())

    def update(
        self, model: nn.Module, optimizer: Optimizer, *, norm: float, clip_norm: float
    ) -> bool:
        """As ``Strategy.update``."""
        del model, optimizer, norm
        self._engine.optimizer.clip_grad = clip_norm
        self._engine.step()
        if not self._engine.was_step_applied():
            raise TrainingError("DeepSpeed skipped an update although the gradient was finite")
        return False

    def weight(self, parameter: nn.Parameter) -> Tensor:
        """As ``Strategy.weight``."""
        return parameter.detach() if self.whole else self._parts().weight(parameter)

    def slots(self, optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
        """As ``Strategy.slots``."""
        del optimizer
        return self._parts().slots(parameter)

    def put_slots(
        self, optimizer: Optimizer, parameter: nn.Parameter, slots: dict[str, Tensor]
    ) -> None:
        """As ``Strategy.put_slots``.

        Raises:
            CheckpointError: the parameters were updated different numbers of times, which a flat
                partition cannot express.
        """
        del optimizer
        self._parts().put_slots(parameter, slots)

    def _parts(self) -> Partitions:
        if self._partitions is None:
            raise RuntimeError("nothing was prepared yet")
        return self._partitions

    def close(self) -> None:
        """As ``Strategy.close``."""
        if self._engine is not None:
            self._engine.destroy()
            self._engine = self._partitions = None
        # Stage 3 replaces it for the whole process; a later run under DDP would differ by rounding.
        torch.nn.functional.linear = self._linear
        for name in self._added:
            os.environ.pop(name, None)

    def leave(self) -> None:
        """As ``Strategy.leave``."""
        from deepspeed import comm

        if comm.is_initialized():  # DeepSpeed keeps groups of its own, a later run would use them
            comm.destroy_process_group()
        else:
            torch.distributed.destroy_process_group()


def _import() -> Any:
    """DeepSpeed without its chatter and without what it would compile at the first start."""
    import deepspeed
    import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # Shared memory for gloo is compiled in the first process group. Nothing here needs it, and a
    # lock that a killed compiler left behind would make every later run wait for ever.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def _fill_environment(launch: Launch) -> list[str]:
    """Variables DeepSpeed insists on, where no launcher has set them; the names of the new ones."""
    wanted = {"LOCAL_RANK": "0"} | ({"DS_ACCELERATOR": "cpu"} if launch.on_cpu else {})
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    return list(added)
