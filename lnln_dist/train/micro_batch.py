"""The largest micro-batch that fits the memory.

Only the number of forward passes per step changes: the global batch, its order and its noise, and
so the experiment, stay the same.
"""

import functools
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lnln_dist.config import Config, Modality
from lnln_dist.cost.host import available_bytes
from lnln_dist.cost.memory import Activations, activations, footprint, kept_bytes, sizes_of
from lnln_dist.cost.skeleton import Lengths, Skeleton
from lnln_dist.data.schema import Index
from lnln_dist.errors import TrainingError
from lnln_dist.files import atomic_write
from lnln_dist.models import InputShapes
from lnln_dist.models.contract import buffers_kept
from lnln_dist.runtime import Runtime
from lnln_dist.runtime.launch import SHARDED
from lnln_dist.train.leaving import is_out_of_memory
from lnln_dist.types import Batch, Losses, blank_batch

MARGIN = 0.1  # share of the memory left alone: NCCL, gaps between tensors, other processes
REMEMBERED = "micro_batch.json"

Fits = Callable[[int], bool]


class Found(NamedTuple):
    """What was found; the same on every rank."""

    micro_batch: int
    """Samples of a process per forward pass."""
    passes: int
    """Forward passes of a process per optimizer step."""
    note: str
    """For the log."""


def choose_micro_batch(
    task: nn.Module,
    runtime: Runtime,
    config: Config,
    index: Index,
    *,
    folder: Path,
    fits: Fits | None = None,
) -> Found:
    """Finds the largest micro-batch that fits every rank (collective).

    Call it with the bare task, before ``Runtime.prepare``. Tries forward and backward passes at
    the corpus' longest lengths until the rank's share is cut into the fewest that fit. A run that
    goes on under the same launch takes what it had found before, so that it goes on exactly.

    Args:
        task: the bare task, on the CPU; it is there again afterwards.
        runtime: of this rank.
        config: of the run.
        index: of the prepared data.
        folder: the run folder, where the finding is kept.
        fits: whether a size fits; None tries it.

    Raises:
        TrainingError: not even one sample fits some rank.
    """
    share = -(-config.train.batch_size // runtime.world)
    launch = _launch(runtime, config, share)
    known = runtime.on_main(lambda: _recall(folder, launch))
    if known is None:
        found = runtime.on_all(
            lambda: largest_that_fits(share, fits or _probe(task, runtime, config, index))
        )
        if runtime.device.type == "cuda":  # the peak that is reported is to be the training's
            torch.cuda.reset_peak_memory_stats(runtime.device)
        if not min(found):
            raise TrainingError(
                f"not even one sample of the longest length fits the memory of rank "
                f"{found.index(0)}: set model.encoder.checkpoint_activations, train.precision "
                "bf16, or train.strategy zero2 with train.offload"
            )
        known = min(found)
        note = json.dumps({"launch": launch, "micro_batch": known}, indent=2) + "\n"
        runtime.on_main(lambda: atomic_write(folder / REMEMBERED, note))
    passes = -(-share // known)
    return Found(
        known,
        passes,
        f"micro-batch {known} fits ({launch['device']}): {passes} forward "
        f"pass{'es' if passes > 1 else ''} per step and process, global batch "
        f"{config.train.batch_size} as before",
    )


def largest_that_fits(share: int, fits: Fits) -> int:
    """The size of a pass when ``share`` is cut into the fewest that fit; 0 if one sample does not.

    Every try costs a pass, so the number of passes is doubled until they fit, then bisected.
    """

    def size(passes: int) -> int:
        return -(-share // passes)

    too_few, enough = 0, 1
    while not fits(size(enough)):
        if size(enough) == 1:
            return 0
        too_few, enough = enough, min(2 * enough, share)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if size(middle) == size(enough) or (size(middle) < size(too_few) and fits(size(middle))):
            enough = middle
        else:
            too_few = middle
    return size(enough)


def longest_batch(size: int, config: Config, index: Index) -> Batch:
    """``size`` samples as long as any of the training split, without content.

    With corpus padding as long as every batch is.
    """
    batch = blank_batch(size, lengths=_places(config, index), widths=index.widths)
    batch.text.noisy_ids_BT.fill_(index.tokenizer.unk_id)
    batch.text.ids_BT.fill_(index.tokenizer.unk_id)
    if size > 1:  # as in real batches: masks of full rows are not built
        batch.text.valid_BT[-1, -1] = False
        batch.text.keep_BT[-1, -1] = False
    return batch


def planned(config: Config, index: Index) -> tuple[Skeleton, Lengths]:
    """The network of a run without memory, and the longest lengths of its batches."""
    shapes = InputShapes.of(widths=index.widths, lengths=index.padded_lengths)
    places = _places(config, index)
    lengths = Lengths(text=places["text"], audio=places["audio"], vision=places["vision"])
    return Skeleton(config, tokenizer=index.tokenizer, shapes=shapes), lengths


def _places(config: Config, index: Index) -> Mapping[Modality, int]:
    padded = config.data.padding == "corpus"
    return index.padded_lengths if padded else index.splits["train"].max_lengths


def _launch(runtime: Runtime, config: Config, share: int) -> dict[str, Any]:
    """What the finding depends on besides the config's own hash."""
    on_gpu = runtime.device.type == "cuda"
    return {
        "share": share,
        "world": runtime.world,
        "strategy": runtime.launch.strategy,
        "offload": runtime.launch.offload,
        "precision": runtime.precision,
        "checkpoint_activations": config.model.encoder.checkpoint_activations,
        "device": torch.cuda.get_device_name(runtime.device) if on_gpu else "cpu",
    }


def _recall(folder: Path, launch: dict[str, Any]) -> int | None:
    try:
        note = json.loads((folder / REMEMBERED).read_text(encoding="utf-8"))
        return int(note["micro_batch"]) if note["launch"] == launch else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _probe(task: nn.Module, runtime: Runtime, config: Config, index: Index) -> Fits:
    def forward(size: int) -> Tensor:
        batch = runtime.to_device(longest_batch(size, config, index))
        with runtime.autocast():
            losses: Losses = task(batch)
        return losses.total()

    if runtime.launch.strategy in SHARDED:
        return _estimate_without_weights(task, runtime, config, index)
    if runtime.device.type == "cuda":
        return _try_on_gpu(task, runtime, forward)
    return _estimate_on_cpu(task, runtime, forward)


def _static_bytes(task: nn.Module, runtime: Runtime) -> int:
    """What a rank holds besides activations, offloaded states too if this is the host."""
    used = footprint(
        sizes_of(task),
        runtime.launch.strategy,
        world=runtime.world,
        precision=runtime.precision,
        kept=Activations(0),
        offload=runtime.launch.offload,
    )
    return used.device + (used.host if runtime.device.type == "cpu" else 0)


def _try_on_gpu(task: nn.Module, runtime: Runtime, forward: Callable[[int], Tensor]) -> Fits:
    """Runs throw-away passes of the whole, unwrapped task, so that ranks need not meet."""
    device = runtime.device
    # Optimizer states and buffers are not there yet: a block of their size stands for them.
    held = sum(4 * p.numel() * (2 if p.requires_grad else 1) for p in task.parameters())
    spare = int(MARGIN * torch.cuda.get_device_properties(device).total_memory)
    ballast = max(0, _static_bytes(task, runtime) - held) + spare

    def attempt(size: int) -> None:
        block = torch.empty(ballast, dtype=torch.uint8, device=device)
        forward(size).backward()  # type: ignore[no-untyped-call]
        del block

    def fits(size: int) -> bool:
        with torch.random.fork_rng(devices=[device]), buffers_kept(task):
            try:
                task.to(device).train()
                attempt(size)
                done = True
            except RuntimeError as err:
                if not is_out_of_memory(err):
                    raise
                done = False
        # Outside the handler, where the failed pass's tensors are no longer referred to.
        task.zero_grad(set_to_none=True)
        task.to("cpu")
        torch.cuda.empty_cache()
        return done

    return fits


def _estimate_without_weights(
    task: nn.Module, runtime: Runtime, config: Config, index: Index
) -> Fits:
    """Reckons from shapes: only rank 0 has weights, and all of them may not fit its card."""
    free = _free_bytes(runtime)
    if free is None:
        return lambda _: True
    skeleton, lengths = planned(config, index)
    one, two = (
        activations(skeleton, size=n, lengths=lengths, precision=runtime.precision).samples
        for n in (1, 2)
    )
    return _reckoned(free - _static_bytes(task, runtime), one, two)


def _free_bytes(runtime: Runtime) -> float | None:
    """What this rank may use of its device, less ``MARGIN``; None where that is not known."""
    if runtime.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(runtime.device)
        return free - MARGIN * total
    host = available_bytes()
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return None if host is None else (1 - MARGIN) * host / neighbours


def _reckoned(budget: float, one: int, two: int) -> Fits:
    """From the bytes that one and two samples take."""
    most = math.floor(1 + (budget - one) / max(1, two - one))
    return lambda size: size <= most


def _estimate_on_cpu(task: nn.Module, runtime: Runtime, forward: Callable[[int], Tensor]) -> Fits:
    """Measures few samples and reckons: a host that is out of memory kills, not raises."""
    free = _free_bytes(runtime)
    if free is None:
        return lambda _: True
    budget = free - _static_bytes(task, runtime)
    with torch.random.fork_rng(devices=[]), buffers_kept(task):
        task.train()
        # Of one sample batch norms find no variance.
        two, three = (kept_bytes(functools.partial(forward, size), task) for size in (2, 3))
    return _reckoned(budget, 2 * two - three, two)
