"""Whether and how often a trial fits a cluster, and what must be right before it starts; no Ray."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lnln_dist.errors import UserError
from lnln_dist.sweep.study import ResourcesConfig

Node = Mapping[str, float]  # resources of a living node, such as {"CPU": 8.0, "GPU": 2.0}


class Capacity(NamedTuple):
    """What a cluster holds."""

    nodes: int
    cpus: float
    gpus: float
    slots: int  # trials at once

    def __str__(self) -> str:
        """One line for the terminal."""
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        word = "node" if self.nodes == 1 else "nodes"
        return f"{self.nodes} {word}, {self.cpus:g} CPU cores{gpus}: {self.slots} trials at once"


def capacity(nodes: Sequence[Node], need: ResourcesConfig) -> Capacity:
    """How many trials run at once; 0 if not even one ever fits."""
    processes = [_processes(node, need) for node in nodes]
    slots = sum(processes) // need.workers
    return Capacity(
        nodes=len(nodes),
        cpus=sum(node.get("CPU", 0) for node in nodes),
        gpus=sum(node.get("GPU", 0) for node in nodes),
        slots=min(slots, need.concurrent or slots),
    )


def _processes(node: Node, need: ResourcesConfig) -> int:
    """Processes of a trial that one node holds. A share of a GPU never spans two GPUs."""
    fits = _floor(node.get("CPU", 0) / need.cpus)
    if need.gpus:
        whole = int(node.get("GPU", 0))
        on_gpus = whole * _floor(1 / need.gpus) if need.gpus < 1 else _floor(whole / need.gpus)
        fits = min(fits, on_gpus)
    return fits


def _floor(ratio: float) -> int:
    return math.floor(ratio + 1e-9)  # 1 / 0.1 and the like


def check(found: Capacity, need: ResourcesConfig) -> None:
    """Refuses a sweep that can never be scheduled.

    Raises:
        UserError: no trial fits.
    """
    if found.slots:
        return
    wants = f"{need.cpus:g} CPU cores" + (f" and {need.gpus:g} GPUs" if need.gpus else "")
    each = f" in each of {need.workers} processes" if need.workers > 1 else ""
    raise UserError(
        f"no trial can ever run: it needs {wants}{each}, the cluster has {found.cpus:g} CPU cores "
        f"and {found.gpus:g} GPUs on {found.nodes} nodes; set resources (or, on a cluster that "
        "grows, --wait SECONDS)"
    )


def check_launch(environment: Mapping[str, str]) -> None:
    """Refuses to start a sweep inside another launcher.

    Raises:
        UserError: `accelerate launch` or torchrun started this process.
    """
    marks = [n for n in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION") if n in environment]
    if marks:
        raise UserError(
            f"a sweep starts its own processes, but this one was started by accelerate launch or "
            f"torchrun ({marks[0]} is set): run `lnln-dist sweep` by itself"
        )


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may use (a container or SLURM may allow fewer than the machine has).

    Args:
        root: where /proc and /sys are.
    """
    return max(1, int(min(len(os.sched_getaffinity(0)), *_quotas(root))))


def _quotas(root: Path) -> Iterator[float]:
    """CPU quotas of this process's control group and of all around it, in cores."""
    yield math.inf
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        old = "cpu" in controllers.split(",")
        if controllers and not old:
            continue
        base = root / "sys/fs/cgroup" / ("cpu" if old else "")
        # In a container the place may be the host's name for it: what is found on the way counts.
        for folder in (here := base / place.strip("/"), *here.parents):
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if old else ("cpu.max",)
            yield _cores(" ".join(_read(folder / name) for name in names))
            if folder == base:
                break


def _cores(quota: str) -> float:
    """A quota and its period, in microseconds; infinite where there is none."""
    try:
        allowed, period = map(int, quota.split())
    except ValueError:  # "max", or no such file
        return math.inf
    return allowed / period if allowed > 0 and period > 0 else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
