"""Whether the ranks of a launch reach one another, and agree."""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from lnln_dist.doctor import nccl
from lnln_dist.doctor.findings import Finding, fail, from_error, ok, warn
from lnln_dist.errors import TrainingError
from lnln_dist.train.consistency import check_equal_on_ranks

TIMEOUT_S = 60.0
NCCL_S = 45.0  # shorter: a rank whose sum hangs must not be late for the others
SEEN_S = 10.0  # a network file system may show a new file late
SKEW_WARN_S, SKEW_FAIL_S = 1.0, 60.0


class Group:
    """The ranks of this launch, over gloo; one rank needs no group.

    Raises:
        TrainingError: they do not find one another in time.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self._timeout = timedelta(seconds=timeout_s)
        if self.world > 1:
            try:
                distributed.init_process_group("gloo", timeout=self._timeout)
            except (RuntimeError, ValueError) as err:
                first = (str(err).strip().splitlines() or [type(err).__name__])[0]
                raise TrainingError(
                    f"rank {self.rank} on {socket.gethostname()} does not reach the others "
                    f"({first})"
                ) from err

    def gather_objects(self, value: object) -> list[Any]:
        """One value per rank, in rank order, on every rank."""
        values: list[Any] = [value]
        if self.world > 1:
            values = [None] * self.world
            distributed.all_gather_object(values, value)
        return values

    def close(self) -> None:
        """Leaves the group."""
        if distributed.is_initialized():
            with contextlib.suppress(Exception):
                distributed.destroy_process_group()


@contextlib.contextmanager
def grouped() -> Iterator[Group]:
    """A group for as long as the block."""
    group = Group()
    try:
        yield group
    finally:
        group.close()


def check_ranks(group: Group, facts: Mapping[str, object], *, shared: Path | None) -> list[Finding]:
    """Everything that takes more than one rank (collective).

    Args:
        group: of this launch.
        facts: what has to be equal on all ranks.
        shared: a folder that all hosts should see; None skips that check.
    """
    hosts = group.gather_objects(socket.gethostname())
    found = [ok("ranks", f"{group.world} on {len(set(hosts))} host(s) reach one another")]
    found += [*_equal(group, facts), _clocks(group), *_cards(group)]
    if shared is not None:
        found.append(check_shared(group, shared))
    elif len(set(hosts)) > 1:
        remedy = "pass --shared with the folder that runs and data are on"
        found.append(warn("shared folder", "not checked", remedy))
    return found


def _equal(group: Group, facts: Mapping[str, object]) -> list[Finding]:
    try:
        check_equal_on_ranks(group, facts)
    except TrainingError as err:
        return [from_error("agreement", err)]
    return [ok("agreement", f"{len(facts)} settings, hashes and versions equal on all ranks")]


def _clocks(group: Group) -> Finding:
    """Differences of the hosts' clocks, to about the time of a collective."""
    spreads = []
    for _ in range(3):
        group.gather_objects(None)  # lets all ranks look at their clocks together
        clocks = group.gather_objects(time.time())
        spreads.append(max(clocks) - min(clocks))
    spread = min(spreads)
    found = f"at most {spread:.2f} s apart"
    remedy = "keep the hosts' clocks with NTP (chronyd); logs and file times would mislead"
    if spread > SKEW_FAIL_S:
        return fail("clocks", found, remedy)
    return warn("clocks", found, remedy) if spread > SKEW_WARN_S else ok("clocks", found)


def _cards(group: Group) -> list[Finding]:
    """Whether all ranks have GPUs or none; then a sum over them by NCCL, one GPU per rank."""
    sees = group.gather_objects((torch.cuda.is_available(), socket.gethostname()))
    without = [f"{rank} ({host})" for rank, (gpu, host) in enumerate(sees) if not gpu]
    if 0 < len(without) < group.world:
        shown = ", ".join(without[:4]) + (" ..." if len(without) > 4 else "")
        found = f"rank {shown} sees no GPU, the others do; they would wait for one another"
        remedy = "look at nvidia-smi and CUDA_VISIBLE_DEVICES there, or give every host --cpu N"
        return [fail("devices of ranks", found, remedy)]
    local = int(os.environ.get("LOCAL_RANK", "0"))
    able = torch.cuda.is_available() and local < torch.cuda.device_count()
    if not all(group.gather_objects(able)):
        return []
    problem = nccl.sum_over_gpus(group, timeout_s=NCCL_S)
    if not problem:
        return [ok("nccl between GPUs", "a sum over all GPUs is right")]
    remedy = "set NCCL_DEBUG=INFO and NCCL_SOCKET_IFNAME; try NCCL_P2P_DISABLE=1, NCCL_IB_DISABLE=1"
    return [fail("nccl between GPUs", problem, remedy)]


def check_shared(group: Group, folder: Path) -> Finding:
    """Rank 0 writes a marker that all read; all write one that rank 0 reads (collective)."""
    token = group.gather_objects(secrets.token_hex(8))[0]
    marker = folder / f".lnln-doctor-{token}"
    mine = folder / f"{marker.name}-{group.rank}"
    first = group.rank == 0

    def agree(problem: str) -> str:
        return next(filter(None, group.gather_objects(problem)), "")

    problem = agree(_write(marker, token) if first else "")
    if not problem:
        unseen = (
            f"rank {group.rank} ({socket.gethostname()}) does not see rank 0's file in {folder}"
        )
        problem = agree("" if _appears(marker, token) else unseen)
    if not problem:
        problem = agree(_write(mine, token))
    if not problem:
        others = range(group.world) if first else ()
        missing = [n for n in others if not _appears(folder / f"{marker.name}-{n}", token)]
        problem = agree(
            f"rank 0 does not see rank {missing[0]}'s file in {folder}" if missing else ""
        )
    for file in (mine, marker) if first else (mine,):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
    if problem:
        remedy = "mount the same folder at the same path on every host, writable for this user"
        return fail("shared folder", problem, remedy)
    return ok("shared folder", f"{folder}: every rank's files are seen by rank 0 and its by all")


def _write(path: Path, content: str) -> str:
    try:
        with path.open("w", encoding="ascii") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as err:
        return f"cannot write in {path.parent} ({err.strerror})"
    return ""


def _appears(path: Path, content: str) -> bool:
    deadline = time.monotonic() + SEEN_S
    while True:
        with contextlib.suppress(OSError):
            if path.read_text(encoding="ascii") == content:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
