"""One process of a run: device, collectives, seeds; the process group by Accelerate."""

import hashlib
import math
import os
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import accumulate
from typing import Any, TypeVar, cast

import numpy as np
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object, send_to_device
from torch import Tensor, distributed

from lnln_dist.errors import TrainingError, UserError
from lnln_dist.runtime.launch import ACCELERATE_PRECISION, HIDDEN, Launch

T = TypeVar("T")


class Process:
    """One process of a run and its view of the others.

    Args:
        launch: what to set up.
        timeout: after which a collective that a peer does not join fails.

    Raises:
        TrainingError: what Accelerate set up is not what was asked for.
    """

    def __init__(self, launch: Launch, timeout: timedelta) -> None:
        self.timeout = timeout
        self._owns_group = not distributed.is_initialized()
        self.accelerator = _accelerator(launch, timeout)
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.is_main: bool = self.accelerator.is_main_process
        self.device: torch.device = self.accelerator.device
        _check_set_up(launch, self.accelerator)
        self._arithmetic = f"{launch.strategy} in {launch.precision}"

    def set_up(self) -> str:
        """Processes, device, backend and strategy of this run, in words."""
        count = f"{self.world} process{'es' if self.world > 1 else ''}"
        card = f" ({torch.cuda.get_device_name(self.device)})" if self.device.type == "cuda" else ""
        by = f" by {distributed.get_backend()}" if distributed.is_initialized() else ""
        return f"{count} on {self.device.type}{card}{by}: {self._arithmetic}"

    def sum_over_ranks(self, values: Mapping[str, Tensor], *alike: Tensor) -> list[float]:
        """Sums scalars over all ranks in one collective (float64).

        Args:
            values: of this rank, to be summed.
            alike: scalars that are the same on all ranks.

        Returns:
            The sums in the order of ``values``, then ``alike``: read together, so that the host
            waits for the device once.
        """
        packed = torch.stack([value.detach().double().reshape(()) for value in values.values()])
        total = cast("Tensor", self.accelerator.reduce(packed, reduction="sum"))
        found: list[float] = torch.cat([total, *(x.double().reshape(1) for x in alike)]).tolist()
        return found

    def gather_objects(self, value: object) -> list[Any]:
        """One value per rank, in rank order, on every rank."""
        return cast("list[Any]", gather_object([value])) if self.world > 1 else [value]

    def gather_samples(self, values: Mapping[str, Tensor], *, most: int) -> dict[str, Tensor]:
        """Tensors of samples, of one rank after the other, on every rank (one collective).

        Args:
            values: of this rank, [B ...] with one B, which may be 0; kinds and the other sizes are
                alike on all ranks. Nothing is rounded.
            most: samples of a rank at most.
        """
        if self.world == 1:
            return {name: value.detach() for name, value in values.items()}
        size = len(next(iter(values.values())))
        flat = [v.detach().reshape(size, math.prod(v.shape[1:])) for v in values.values()]
        # As bytes, kinds of numbers share a message; the first tells samples from what fills up.
        counts_B1 = torch.ones(size, 1, dtype=torch.uint8, device=self.device)
        parts = [counts_B1, *(value.contiguous().view(torch.uint8) for value in flat)]
        mine = torch.nn.functional.pad(torch.cat(parts, dim=1), (0, 0, 0, most - size))
        held = [torch.empty_like(mine) for _ in range(self.world)]
        distributed.all_gather(held, mine)
        whole = torch.cat(held)
        sizes = [part.shape[1] for part in parts]
        pieces = torch.tensor_split(whole[whole[:, 0] == 1], list(accumulate(sizes[:-1])), dim=1)
        return {
            # A copy, at whose begin any kind of number may stand.
            name: piece.clone(memory_format=torch.contiguous_format)
            .view(value.dtype)
            .reshape(-1, *value.shape[1:])
            for (name, value), piece in zip(values.items(), pieces[1:], strict=True)
        }

    def broadcast_object(self, value: object) -> Any:
        """Rank 0's value on every rank."""
        return self.gather_objects(value)[0]

    def on_main(self, action: Callable[[], T]) -> T:
        """Runs ``action`` on rank 0; its result reaches every rank, errors as in ``on_all``."""
        return cast("T", self.on_all(lambda: action() if self.is_main else None)[0])

    def on_all(self, action: Callable[[], T]) -> list[T]:
        """Runs ``action``, which must not wait for other ranks, on all; the results in rank order.

        Raises:
            UserError: the first one that some rank met, on every rank.
            TrainingError: on the other ranks, if some rank failed in another way.
        """
        outcome: tuple[T | None, UserError | None] = (None, None)
        broken: Exception | None = None
        try:
            outcome = (action(), None)
        except UserError as err:
            outcome = (None, err)
        except Exception as err:  # the others wait for the outcome
            broken = err
            said = f"rank {self.rank} failed: {type(err).__name__}: {err}"
            outcome = (None, TrainingError(said))
        outcomes = self.gather_objects(outcome)
        if broken is not None:
            raise broken
        for _, error in outcomes:
            if error is not None:
                raise error
        return [value for value, _ in outcomes]

    def to_device(self, batch: T) -> T:
        """A batch, or tensors in tuples and dictionaries, on this rank's device."""
        if self.device.type == "cpu":
            return batch
        return cast("T", send_to_device(batch, self.device, non_blocking=True))

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

    def from_main(self, value: Tensor | None, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Rank 0's tensor on every rank's device."""
        if self.is_main and value is not None:
            held = value.to(self.device, dtype).contiguous()
        else:
            held = torch.empty(shape, device=self.device, dtype=dtype)
        if self.world > 1:
            distributed.broadcast(held, src=0)
        return held


def _accelerator(launch: Launch, timeout: timedelta) -> Accelerator:
    """Process group, device and DDP by Accelerate; sharding is the strategies' own."""
    # The state is process-wide: what an earlier run of this process asked for must not stay.
    AcceleratorState._reset_state(reset_partial_state=True)
    hidden = {name: os.environ.pop(name) for name in HIDDEN if name in os.environ}
    try:
        return Accelerator(
            mixed_precision=ACCELERATE_PRECISION[launch.precision],
            cpu=launch.on_cpu,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timeout)],
        )
    finally:
        os.environ.update(hidden)


def _check_set_up(launch: Launch, accelerator: Accelerator) -> None:
    """Raises unless world size, device, backend and precision are what was asked for."""
    if accelerator.num_processes != launch.world:
        raise TrainingError(
            f"launched as one of {launch.world} processes but Accelerate set up "
            f"{accelerator.num_processes}: start with accelerate launch --multi_gpu or torchrun"
        )
    device = "cpu" if launch.on_cpu else "cuda"
    if accelerator.device.type != device:
        raise TrainingError(f"asked for {device}, Accelerate chose {accelerator.device}")
    if accelerator.mixed_precision != ACCELERATE_PRECISION[launch.precision]:
        raise TrainingError(
            f"asked for {launch.precision}, Accelerate set up {accelerator.mixed_precision}"
        )
    if distributed.is_initialized():
        backend = distributed.get_backend()
        wanted = "gloo" if launch.on_cpu else "nccl"
        if backend != wanted:
            raise TrainingError(f"the process group runs on {backend}; {device} needs {wanted}")
