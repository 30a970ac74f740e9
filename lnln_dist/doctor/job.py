"""Whether the job holds together: launch, data, encoder, memory."""

import functools
import os
from dataclasses import dataclass

import torch
from huggingface_hub import try_to_load_from_cache

from lnln_dist.config import Config, Strategy
from lnln_dist.cost.host import available_bytes
from lnln_dist.cost.memory import (
    HEADROOM,
    STRATEGIES,
    Activations,
    Footprint,
    Parameters,
    activations,
    footprint,
    sizes_of,
)
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import open_dataset
from lnln_dist.doctor.findings import Finding, fail, from_error, ok, warn
from lnln_dist.errors import TrainingError, UserError
from lnln_dist.models.encoder import EncoderSource
from lnln_dist.runtime.launch import Launch, read_launch
from lnln_dist.train.micro_batch import largest_that_fits, planned

GIB = 2**30
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
STORED = 12  # bytes of a parameter in a checkpoint: weight and two moments


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be run."""

    config: Config
    index: Index | None
    """None if the data cannot be opened."""
    processes: int
    card_bytes: int | None
    """Memory of one GPU; None if there is none to compare with."""
    host_bytes: int | None = None
    """Memory of a host for each of its processes; None if not known."""


def open_data(path: str) -> tuple[Index | None, Finding]:
    """The prepared data's index, and how opening went."""
    if not path:
        remedy = "set data.path or pass --data with a folder written by lnln-dist prepare"
        return None, warn("data", "no folder given", remedy)
    try:
        index = open_dataset(path).index
    except UserError as err:
        return None, from_error("data", err)
    rows = ", ".join(f"{info.rows} {name}" for name, info in index.splits.items())
    return index, ok("data", f"{index.dataset}: {rows}, hash {index.data_hash()[:12]}")


def launch_of(config: Config, *, cpu: bool | None = None) -> Launch | TrainingError:
    """What training would set up, or why it would refuse."""
    train = config.train
    try:
        return read_launch(
            precision=train.precision, strategy=train.strategy, offload=train.offload, cpu=cpu
        )
    except TrainingError as err:
        return err


def check_launch(launch: Launch | TrainingError) -> Finding:
    """Whether training would refuse this launch."""
    if isinstance(launch, TrainingError):
        return from_error("launch", launch)
    where = "CPU" if launch.on_cpu else "GPU"
    offload = ", optimizer in host memory" if launch.offload else ""
    return ok("launch", f"{launch.strategy} in {launch.precision} on {where}{offload}")


def check_encoder(config: Config) -> Finding:
    """Whether the text encoder can be had without a network."""
    name = config.model.encoder.name
    if name == "tiny":
        return ok("encoder", "tiny: made on the spot")
    try:
        source = EncoderSource.of(name)
    except UserError as err:
        return from_error("encoder", err)
    if source.folder is not None:
        if any((source.folder / file).is_file() for file in WEIGHTS):
            return ok("encoder", f"{name}: a folder with weights")
        remedy = "copy model.safetensors into it"
        return fail("encoder", f"{name}: a folder without weights", remedy)
    held = [isinstance(try_to_load_from_cache(name, file), str) for file in WEIGHTS]
    if any(held) and isinstance(try_to_load_from_cache(name, "config.json"), str):
        return ok("encoder", f"{name}: in this host's cache")
    remedy = f"on a host with a network: hf download {name} --local-dir DIR, then use DIR as name"
    if source.offline:
        return fail("encoder", f"{name}: not in the cache, and the hub is out of reach", remedy)
    found = f"{name}: not in the cache; it would be downloaded by every host at the start"
    return warn("encoder", found, remedy)


def disk_bytes(job: Job, counted: Parameters | None) -> int:
    """What a run's folder takes: checkpoints, one being written, and the best weights."""
    if counted is None:
        return 5 * GIB
    size = counted.trained + counted.frozen
    return (job.config.train.keep_checkpoints + 1) * STORED * size + 2 * 4 * size


def check_memory(job: Job) -> tuple[Parameters | None, list[Finding]]:
    """Estimates every strategy against the card; only the one in use can fail."""
    index, config = job.index, job.config
    if index is None:
        return None, []
    try:
        skeleton, longest = planned(config, index)
    except UserError as err:
        return None, [from_error("model", err)]
    counted = sizes_of(skeleton.model)
    frozen = f", {counted.frozen / 1e6:.1f} M frozen" if counted.frozen else ""
    findings = [ok("model", f"{counted.trained / 1e6:.1f} M trained parameters{frozen}")]
    share = -(-config.train.batch_size // job.processes)
    size = min(config.train.micro_batch or share, share)
    chosen, offload = _chosen(config)

    def used(strategy: Strategy, samples: int) -> Footprint:
        return footprint(
            counted,
            strategy,
            world=job.processes,
            precision=config.train.precision,
            kept=kept(samples),
            offload=offload and strategy == chosen,
        )

    @functools.cache
    def kept(samples: int) -> Activations:
        precision = config.train.precision
        return activations(skeleton, size=samples, lengths=longest, precision=precision)

    if config.train.auto_micro_batch:
        fits = largest_that_fits(share, lambda n: not _lacking(job, used(chosen, n), HEADROOM))
        size = max(1, fits)
    passes = f"{size} samples a pass"
    if size < share and config.train.auto_micro_batch:
        passes += f" of {share} (train.auto_micro_batch)"
    for strategy in STRATEGIES:
        mine = strategy == chosen
        findings.append(_against(job, strategy, used(strategy, size), passes, chosen=mine))
    return counted, findings


def _chosen(config: Config) -> tuple[Strategy, bool]:
    """The strategy of this launch; DDP if it is refused anyway."""
    train, launch = config.train, launch_of(config)
    if isinstance(launch, TrainingError):
        return "ddp" if train.strategy == "auto" else train.strategy, train.offload
    return launch.strategy, launch.offload


def _lacking(job: Job, used: Footprint, spare: int) -> str:
    """Which memory does not suffice with ``spare`` bytes left alone: card, host or (empty) none."""
    if job.card_bytes is not None and used.device + spare > job.card_bytes:
        return "card"
    # Without a card all of it is the host's, as in a run on the CPU.
    on_host = used.host + (used.device + spare if job.card_bytes is None else 0)
    return "host" if job.host_bytes is not None and on_host > job.host_bytes else ""


def _against(
    job: Job, strategy: Strategy, used: Footprint, passes: str, *, chosen: bool
) -> Finding:
    parts = {
        "weights": used.parameters,
        "gradients": used.gradients,
        "optimizer": used.optimizer,
        "buffers": used.buffers,
        "activations": used.activations,
    }
    listed = ", ".join(f"{name} {value / GIB:.2f}" for name, value in parts.items())
    host = f", on the host {used.host / GIB:.2f}" if used.host else ""
    found = (
        f"{used.device / GIB:.2f} GiB estimated per process of {job.processes}, {passes} "
        f"({listed}{host})"
    )
    check = f"memory, {strategy}"
    if not chosen:
        return ok(check, found)
    if job.card_bytes is not None:
        found += f"; the card has {job.card_bytes / GIB:.1f}"
    lacking = _lacking(job, used, 0) or _lacking(job, used, HEADROOM)
    if not lacking:
        return ok(check, found)
    if lacking == "host" and job.host_bytes is not None:
        found += f"; {job.host_bytes / GIB:.1f} GiB of the host's memory are free for each process"
    level = fail if _lacking(job, used, 0) else warn
    return level(check, found, _remedy(job, strategy, lacking, used))


def _remedy(job: Job, strategy: Strategy, lacking: str, used: Footprint) -> str:
    """What would take less memory and is not set already."""
    if lacking == "host" and used.host:
        return "start fewer processes per host, take a host with more memory, or drop train.offload"
    config = job.config
    train = config.train
    ways = {
        "train.auto_micro_batch": not train.auto_micro_batch and train.micro_batch is None,
        "a smaller train.micro_batch": (train.micro_batch or 1) > 1,
        "model.encoder.checkpoint_activations": not config.model.encoder.checkpoint_activations,
        "train.precision bf16": train.precision == "fp32",
        "train.strategy zero2": strategy == "ddp" and job.processes > 1,
        "train.strategy zero3": strategy in ("zero1", "zero2") and job.processes > 1,
    }
    named = [way for way, helps in ways.items() if helps]
    return f"set {' or '.join(named)}" if named else "take more or larger machines"


def card_bytes(gib: float | None) -> int | None:
    """Memory of the card to compare with: as given, or the smallest GPU here."""
    if gib is not None:
        return int(gib * GIB)
    if not torch.cuda.is_available():
        return None
    cards = range(torch.cuda.device_count())
    return min(torch.cuda.get_device_properties(i).total_memory for i in cards)


def host_bytes(gpus: int | None, *, planned: bool) -> int | None:
    """Free memory of this host for each of its processes; None if not known.

    Args:
        gpus: processes of the planned run.
        planned: this is about a run that need not be on this host, unless it has GPUs, too.
    """
    launched, free = os.environ.get("LOCAL_WORLD_SIZE"), available_bytes()
    here = torch.cuda.is_available()
    if free is None or (planned and not launched and not here):
        return None
    local = min(processes(gpus), torch.cuda.device_count()) if here else processes(gpus)
    return free // int(launched or max(1, local))


def processes(given: int | None) -> int:
    """Processes of the planned run: as given, or of this launch."""
    return given if given is not None else int(os.environ.get("WORLD_SIZE", "1"))
