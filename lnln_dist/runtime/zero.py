"""DeepSpeed ZeRO 1, 2 and 3, held to the same arithmetic as DDP.

The engine's own accumulation, clipping and division are switched off: this module tells it
when a step ends, reads the norm before the update, and only then lets it step.
"""

import copy
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lnln_dist.cost.memory import BUCKET
from lnln_dist.errors import CheckpointError, TrainingError
from lnln_dist.runtime.launch import Launch
from lnln_dist.runtime.spread import (
    Spread,
    cast_forward,
    fill_buffers,
    signed_nan,
    swap_parameters,
    tensors,
    trained,
)

NEVER = 10**9  # steps between DeepSpeed's own progress lines
# Keys of DeepSpeed that are decided elsewhere: the values that say the same, and where to say it.
_ELSEWHERE: dict[str, tuple[tuple[Any, ...], str]] = {
    "train_batch_size": (("auto",), "train.batch_size"),
    "train_micro_batch_size_per_gpu": (("auto",), "train.micro_batch"),
    "gradient_accumulation_steps": (("auto", 1), "train.micro_batch"),
    "gradient_clipping": (("auto",), "optim.clip_norm"),
    "optimizer": ((), "optim"),
    "scheduler": ((), "optim.schedule"),
    "amp": ((), "train.precision"),
    "torch_autocast": ((), "train.precision"),
}


def deepspeed_config(launch: Launch) -> dict[str, Any]:
    """The config for ``deepspeed.initialize``.

    The engine is told of micro-batches of one sample and no accumulation or clipping of its own:
    the training loop decides when a step ends and by what its gradients are divided.

    Raises:
        TrainingError: the launcher's settings contradict the training config, ask for files on
            NVMe, or hold an ``auto`` that nothing fills in.
    """
    given = copy.deepcopy(launch.deepspeed)
    for key, (same, place) in _ELSEWHERE.items():
        value = given.pop(key, "auto")
        if value not in (*same, "auto"):
            raise TrainingError(
                f"DeepSpeed config {key}: {value!r}: drop it, {place} of the training config "
                "decides that"
            )
    zero = given.setdefault("zero_optimization", {})
    _check_precision(given, launch)
    _check_offload(zero)
    if zero.setdefault("stage", launch.stage) != launch.stage:
        raise TrainingError(
            f"DeepSpeed config stage {zero['stage']}, the config for train.strategy "
            f"{launch.strategy}: change one of the two"
        )
    for name in ("reduce_bucket_size", *(("allgather_bucket_size",) if launch.stage < 3 else ())):
        zero.setdefault(name, BUCKET)
    if launch.stage == 3:
        # DeepSpeed's own 10^9 elements would keep most encoders whole from forward to backward.
        zero.setdefault("stage3_max_reuse_distance", 0)
    if launch.offload:
        zero.setdefault("offload_optimizer", {"device": "cpu"})
    if given.pop("zero_force_ds_cpu_optimizer", False):
        raise TrainingError(
            "DeepSpeed config zero_force_ds_cpu_optimizer: true: drop it, the optimizer is torch's "
            "AdamW (DeepSpeed's own is compiled at the first start, which a stale lock can stop)"
        )
    _refuse_auto(given)
    filled = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": launch.precision == "bf16"},
    }
    if launch.precision == "bf16" and (launch.stage > 1 or launch.offload):
        # Sums over micro-batches keep float32. (At stage 1 this would select another optimizer.)
        given.setdefault("data_types", {"grad_accum_dtype": "fp32"})
    return {"steps_per_print": NEVER, **given, **filled}


def _check_precision(given: dict[str, Any], launch: Launch) -> None:
    for kind in ("fp16", "bf16"):
        enabled = given.pop(kind, {}).get("enabled", "auto")
        if enabled not in ("auto", launch.precision == kind):
            raise TrainingError(
                f"DeepSpeed config {kind}.enabled: {enabled}, the config train.precision "
                f'{launch.precision}: change one of the two, or write "auto" in DeepSpeed\'s'
            )


def _check_offload(zero: dict[str, Any]) -> None:
    for kind in ("offload_optimizer", "offload_param"):
        device = zero.get(kind, {}).get("device", "none")
        if device not in ("none", "cpu"):
            raise TrainingError(
                f"DeepSpeed config {kind}.device: {device}: only cpu is supported here"
            )


def _refuse_auto(section: dict[str, Any], path: str = "") -> None:
    for key, value in section.items():
        if isinstance(value, dict):
            _refuse_auto(value, f"{path}{key}.")
        elif value == "auto":
            raise TrainingError(
                f"DeepSpeed config {path}{key}: auto: nothing fills it in; give a value or drop it"
            )


class Partitions(Spread):
    """The part of every trained parameter that this rank's optimizer holds.

    Stages 1 and 2 cut the parameters of a group laid end to end; stage 3 cuts each parameter, its
    end padded so that all parts are of one size.

    Args:
        engine: a DeepSpeed engine, None until there is one.
        stage: its ZeRO stage.
        device: of this rank.
    """

    def __init__(self, engine: Any, *, stage: int, device: torch.device) -> None:
        super().__init__(device)
        self._engine = engine
        self._stage = stage
        self._linked = False

    def _flat(self) -> list[Tensor]:
        """The partitions themselves, keys of the inner optimizer's state."""
        held = self._engine.optimizer
        if self._stage == 3:
            return list(held.fp32_partitioned_groups_flat)
        return list(held.single_partition_of_fp32_groups)

    def _state(self) -> dict[Tensor, dict[str, Tensor]]:
        return cast("dict[Tensor, dict[str, Tensor]]", self._engine.optimizer.optimizer.state)

    def weight(self, parameter: nn.Parameter) -> Tensor:
        """As ``Spread.weight``."""
        from deepspeed.utils import safe_get_full_fp32_param

        return cast("Tensor", safe_get_full_fp32_param(parameter))

    def slots(self, optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
        """As ``Spread.slots``."""
        del optimizer
        from deepspeed.utils import safe_get_full_optimizer_state

        held = self._state().get(self._flat()[0], {})
        if held:
            self._link()
        return {
            name: value
            if name == "step"
            else cast("Tensor", safe_get_full_optimizer_state(parameter, name))
            for name, value in held.items()
        }

    def put_slots(
        self, optimizer: Optimizer, parameter: nn.Parameter, slots: dict[str, Tensor]
    ) -> None:
        """As ``Spread.put_slots``.

        Raises:
            CheckpointError: the parameters were updated different numbers of times, which a flat
                partition cannot express.
        """
        del optimizer
        state = self._state()
        for flat in self._flat():
            held = state[flat]
            if not held:
                held.update((name, torch.zeros_like(flat)) for name in slots if name != "step")
                # A copy for each: the optimizer counts in place.
                held["step"] = slots["step"].to("cpu", copy=True)
            if float(held["step"]) != float(slots["step"]):
                raise CheckpointError(
                    "the checkpoint's parameters were updated different numbers of times, which "
                    "ZeRO cannot go on from: use train.strategy ddp or fsdp2"
                )
        self._link()
        for name, value in slots.items():
            if name != "step":
                self.put(parameter, value, slot=name)

    def put(self, parameter: Any, value: Tensor, *, slot: str | None = None) -> None:
        """Writes this rank's part of a whole tensor; ``slot`` None is the float32 weight."""
        if self._stage < 3:
            parameter.set_full_hp_param(value, slot)
            return
        size = parameter.ds_tensor.numel()
        start = torch.distributed.get_rank() * size
        part = value.flatten()[start : start + size]
        part = torch.nn.functional.pad(part, (0, size - part.numel()))
        self._engine.optimizer.set_local_hp_param(part, parameter, slot)

    def _link(self) -> None:
        """Tells parameters where their slots are.

        DeepSpeed does so at the first step, after its first parameter group and before the others
        have any slots.
        """
        if self._stage < 3 and not self._linked:
            held = self._engine.optimizer
            held._hp_optimizer_states_linked = False
            held._lazy_init_hp_params_optimizer_state()
            self._linked = True


class Zero(Partitions):
    """A DeepSpeed engine behind the common seam."""

    def __init__(
        self,
        *,
        launch: Launch,
        device: torch.device,
        timeout: timedelta,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        super().__init__(None, stage=launch.stage, device=device)
        self._config = deepspeed_config(launch)
        self._launch = launch
        self._timeout = timeout
        self._autocast = autocast
        self._linear = torch.nn.functional.linear
        self._added: list[str] = []
        self._frozen: dict[nn.Parameter, Tensor] = {}

    def wrap(
        self, model: nn.Module, optimizer: Optimizer, whole: Callable[[str], Tensor] | None
    ) -> tuple[nn.Module, Optimizer]:
        """As ``Spread.wrap``."""
        cast_forward(model, self._autocast)
        self._added = _fill_environment(self._launch)
        exact: Callable[[str], Tensor]
        if whole is not None:
            exact = whole
            self._cut(model, optimizer, whole)
            fill_buffers(model, whole)
        else:
            held = tensors(model)
            if self._launch.precision == "bf16":  # the engine rounds in place
                held = {name: value.clone() for name, value in held.items()}
            exact = held.__getitem__
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                value = exact(name)
                # The engine may hold it in bf16 only; it never changes, and rank 0 saves it.
                if torch.distributed.get_rank() == 0:
                    self._frozen[parameter] = value.to("cpu", copy=True)
        self._engine, wrapped, _, _ = _import().initialize(
            model=model, optimizer=optimizer, config=self._config, dist_init_required=False
        )
        self._linked = False
        self._bound_waiting()
        self._check()
        if self._launch.precision == "bf16":
            # The engine took its float32 weights from the rounded ones, and rounded buffers too.
            for name, parameter in trained(model).items():
                self.put(parameter, exact(name).to(self._device))
            fill_buffers(model, lambda name: exact(name).to(self._device))
        return cast("nn.Module", self._engine), wrapped

    def _cut(self, model: nn.Module, optimizer: Optimizer, whole: Callable[[str], Tensor]) -> None:
        """Gives every rank its part of each parameter, one whole parameter at a time."""
        deepspeed = _import()
        deepspeed.init_distributed(dist_init_required=False)
        # DeepSpeed's own way takes a model that is whole already, or builds it anew.
        init = deepspeed.zero.Init(module=nn.Module(), config_dict_or_path=self._config)
        dtype = torch.bfloat16 if self._launch.precision == "bf16" else torch.float32

        def part(name: str, parameter: nn.Parameter) -> nn.Parameter:
            value = whole(name).to(dtype, copy=True)
            made = nn.Parameter(value, parameter.requires_grad)
            init._convert_to_zero_parameters([made])
            return made

        swap_parameters(model, optimizer, part)

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
        """As ``Spread.unwrap``."""
        return cast("nn.Module", model.module)

    def accumulate(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """As ``Spread.accumulate``."""
        del model
        self._engine.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """As ``Spread.backward``."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def gradient_norm(self, model: nn.Module, optimizer: Optimizer) -> Tensor:
        """As ``Spread.gradient_norm``."""
        del model, optimizer
        held = self._engine.optimizer
        norms = [held.scaled_global_norm()] if self._stage < 3 else held._get_norm_groups()
        parts = torch.stack([torch.as_tensor(n, device=self._device) for n in norms])
        whole: Tensor = signed_nan(parts).norm()
        return whole

    def update(
        self, model: nn.Module, optimizer: Optimizer, *, norm: float, clip_norm: float
    ) -> bool:
        """As ``Spread.update``."""
        del model, optimizer, norm
        self._engine.optimizer.clip_grad = clip_norm
        self._engine.step()
        if not self._engine.was_step_applied():
            raise TrainingError("DeepSpeed skipped an update although the gradient was finite")
        return False

    def weight(self, parameter: nn.Parameter) -> Tensor:
        """As ``Spread.weight``."""
        if not parameter.requires_grad:
            return self._frozen.get(parameter, torch.empty(0))
        if self._stage < 3 and self._launch.precision == "fp32":
            return parameter.detach()
        return super().weight(parameter)

    def close(self) -> None:
        """As ``Spread.close``."""
        if self._engine is not None:
            self._engine.destroy()
            self._engine = None
            self._frozen.clear()
        # Stage 3 replaces it for the whole process; a later run under DDP would differ by rounding.
        torch.nn.functional.linear = self._linear
        for name in self._added:
            os.environ.pop(name, None)

    def leave(self) -> None:
        """As ``Spread.leave``."""
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
