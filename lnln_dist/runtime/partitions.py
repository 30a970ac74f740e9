"""Float32 weights and optimizer slots inside DeepSpeed's flat partitions."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from lnln_dist.errors import CheckpointError


class Partitions:
    """The part of every trained parameter that this rank's optimizer holds.

    Stages 1 and 2 cut the parameters of a group laid end to end; stage 3 cuts each parameter, its
    end padded so that all parts are of one size.

    Args:
        engine: a DeepSpeed engine.
        stage: its ZeRO stage.
    """

    def __init__(self, engine: Any, *, stage: int) -> None:
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
        """A whole float32 weight (collective)."""
        from deepspeed.utils import safe_get_full_fp32_param

        return cast("Tensor", safe_get_full_fp32_param(parameter))

    def slots(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """A parameter's slots as whole tensors (collective); {} before the first step."""
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

    def put_slots(self, parameter: nn.Parameter, slots: dict[str, Tensor]) -> None:
        """Writes this rank's part of whole slots.

        Raises:
            CheckpointError: the step count differs from that of the partition's other parameters.
        """
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
