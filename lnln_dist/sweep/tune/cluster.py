"""A Ray cluster: joined, or made of this machine; whether and how often a trial fits it."""

import contextlib
import logging
import math
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lnln_dist import __version__
from lnln_dist.console import counted
from lnln_dist.errors import UserError, install
from lnln_dist.files import atomic_write
from lnln_dist.sweep.study import ResourcesConfig
from lnln_dist.sweep.trial import scrub

REACH_S = 10.0  # for a cluster's address to take a connection
OBJECT_STORE = 80 * 2**20  # bytes, about the least Ray takes: trials exchange next to nothing


# Read by Ray when it is imported or started or runs trials; a user's own values win.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a trial's run folder has its own events
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's state is not needed to resume
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
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
        nodes, trials = counted(self.nodes, "node"), counted(self.slots, "trial")
        return f"{nodes}, {self.cpus:g} CPU cores{gpus}: {trials} at once"


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


@contextlib.contextmanager
def quiet_ray() -> Iterator[Any]:
    """Ray, set up as suits a sweep's driver while the block lasts.

    Scripts of one's own, in the same process and later, keep Ray's ways.

    Raises:
        UserError: Ray is not installed.
    """
    added = {name: value for name, value in QUIET.items() if name not in os.environ}
    os.environ.update(added)
    try:
        try:
            import ray
            import ray.tune
        except ImportError as err:
            raise UserError(f"a sweep needs Ray: {install('ray')}") from err
        yield ray
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def cluster(address: str | None, *, cpus: int | None = None) -> Iterator[Any]:
    """Connects to a cluster, or makes one of this machine for as long as the block lasts.

    Args:
        address: of a running cluster; None looks at RAY_ADDRESS, then starts a local one.
        cpus: cores of a local one; None is what this process may use.

    Raises:
        UserError: this process was started by another launcher, or no cluster answers.
    """
    check_launch(os.environ)
    scrub(os.environ)
    from joblib import cpu_count

    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        _check_reachable(address)
        options["address"] = address
    else:
        options |= {
            # Ray itself knows the quota of a container, but not the cores that SLURM gives.
            "num_cpus": cpus or cpu_count(),
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
        }
    with quiet_ray() as ray:
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as err:
            where = address or "on this machine"
            raise UserError(
                f"no Ray cluster {where}: {' '.join(str(err).split())[:300]} (is it running, and "
                "is RAY_AUTH_MODE the same here and there?)"
            ) from err
        try:
            yield ray
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes, and hears no signal meanwhile."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?:(\d+)", address)
    if found is None:
        return  # auto, local and the like
    try:
        socket.create_connection((found[1], int(found[2])), timeout=REACH_S).close()
    except (OSError, OverflowError) as err:
        raise UserError(
            f"no Ray cluster at {address} ({err}): start it, or correct --address or RAY_ADDRESS "
            "(the port is that of `ray start --port`, not the dashboard's)"
        ) from err


def living_nodes(ray: Any) -> list[dict[str, float]]:
    """Resources of every living node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def wait_for(ray: Any, need: ResourcesConfig, *, seconds: float) -> Capacity:
    """The cluster's capacity, once a trial fits or after ``seconds``; asks it to grow meanwhile.

    Raises:
        UserError: no trial fits.
    """
    end = time.monotonic() + seconds
    while not (found := capacity(living_nodes(ray), need)).slots:
        if time.monotonic() >= end:
            wants = f"{need.cpus:g} CPU cores" + (f" and {need.gpus:g} GPUs" if need.gpus else "")
            each = f" in each of {need.workers} processes" if need.workers > 1 else ""
            raise UserError(
                f"no trial can ever run: it needs {wants}{each}, the cluster has {found.cpus:g} "
                f"CPU cores and {found.gpus:g} GPUs on {found.nodes} nodes; set resources (or, on "
                "a cluster that grows, --wait SECONDS)"
            )
        with contextlib.suppress(Exception):  # a cluster without an autoscaler
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=[need.bundle] * need.workers)
        time.sleep(min(2.0, seconds))
    return found


def check_nodes(ray: Any, folder: Path, data: Sequence[str]) -> None:
    """Makes sure that every node sees the sweep's folder, the data and the same program.

    Raises:
        UserError: names each node and what it lacks.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    marker = folder / ".seen"
    word = secrets.token_hex(8)
    atomic_write(marker, word)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    look = ray.remote(num_cpus=0)(_look)
    asked = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        answer = look.options(scheduling_strategy=there).remote(
            str(marker), word, list(data), __version__
        )
        asked.append((node, answer))
    problems = []
    for node, answer in asked:
        name = f"node {node['NodeManagerAddress']}"
        try:
            problems += [f"{name}: {problem}" for problem in ray.get(answer, timeout=120)]
        except Exception as err:  # any trouble of a node is that node's
            if not _lives(ray, node["NodeID"]):
                continue  # Ray lists a dead node until it has missed its heartbeats
            problems.append(f"{name}: {type(err).__name__}: {' '.join(str(err).split())[:300]}")
    marker.unlink(missing_ok=True)
    if problems:
        raise UserError("; ".join(problems))


def _lives(ray: Any, node: str) -> bool:
    return any(other["NodeID"] == node and other["Alive"] for other in ray.nodes())


def _look(marker: str, word: str, data: list[str], version: str) -> list[str]:
    """Runs on a node: what it lacks."""
    try:
        import lnln_dist
    except ImportError:
        return ["lnln_dist is not installed there"]
    problems = []
    if lnln_dist.__version__ != version:
        problems.append(f"lnln_dist {lnln_dist.__version__} there, {version} here")
    path = Path(marker)
    if not path.is_file() or path.read_text() != word:
        problems.append(f"does not see {path.parent}: put it on storage that all nodes share")
    missing = [d for d in data if "://" not in d and not (Path(d) / "index.json").is_file()]
    return problems + [f"no prepared data in {d}" for d in missing]
