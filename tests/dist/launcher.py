"""Starts ranks on this machine: hard time-outs, free ports, nothing left over, errors shown."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

TESTS = Path(__file__).resolve().parents[1]
GRACE_S = 5.0  # between one rank's failure and the end of the others
TAIL = 6000  # characters of a failed rank's output that are shown


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**extra: str) -> dict[str, str]:
    """Variables for a child: this one's, without traces of a launcher or of a GPU."""
    left_out = ("ACCELERATE_", "FSDP_", "MASTER_", "TORCHELASTIC_", "SLURM_")
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    kept = {k: v for k, v in os.environ.items() if k not in names and not k.startswith(left_out)}
    paths = [str(TESTS), str(TESTS.parent)]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        **extra,
    }


def end(child: subprocess.Popen[bytes]) -> None:
    """Kills a child with everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def run_command(
    command: Sequence[str], *, folder: Path, timeout_s: float, **extra: str
) -> tuple[int, str]:
    """Runs a launcher to its end; its exit code and whole output."""
    log = folder / "output.txt"
    with log.open("wb") as out:
        child = subprocess.Popen(
            list(command),
            env=environment(**extra),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=TESTS.parent,
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            end(child)
    text = log.read_text(errors="replace")
    return code, text if code != -1 else f"{text}\nstill running after {timeout_s} s"


def start_ranks(
    world: int, arguments: Sequence[str], *, folder: Path, **extra: str
) -> list[subprocess.Popen[bytes]]:
    """Starts ``python ARGUMENTS`` once per rank; rank R writes to FOLDER/rank-R.txt."""
    port = str(free_port())
    children = []
    for rank in range(world):
        variables = environment(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(world),
            LOCAL_WORLD_SIZE=str(world),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
            **extra,
        )
        with (folder / f"rank-{rank}.txt").open("wb") as out:
            children.append(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    env=variables,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=TESTS.parent,
                )
            )
    return children


def wait_for(children: Sequence[subprocess.Popen[bytes]], *, timeout_s: float) -> list[int]:
    """Exit codes; once a rank has failed the others have ``GRACE_S`` left. -9 where killed here."""
    deadline = time.monotonic() + timeout_s
    try:
        while any(child.poll() is None for child in children) and time.monotonic() < deadline:
            if any(child.poll() not in (None, 0) for child in children):
                deadline = min(deadline, time.monotonic() + GRACE_S)
            time.sleep(0.05)
    finally:
        codes = [child.poll() for child in children]
        for child in children:
            end(child)
    return [-9 if code is None else code for code in codes]


def run_scenarios(
    world: int,
    scenarios: Mapping[str, Mapping[str, Any]],
    *,
    folder: Path,
    timeout_s: float = 120,
) -> dict[str, Any]:
    """Runs scenarios of ``scenarios.py`` one after the other in one group of ranks.

    Args:
        world: number of ranks.
        scenarios: name -> {"function": name in scenarios.py, its arguments}.
        folder: where outputs go.
        timeout_s: for all of them together.

    Returns:
        What rank 0's function returned, by scenario name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenarios.json").write_text(json.dumps(dict(scenarios)))
    script = [str(TESTS / "dist" / "scenarios.py"), str(folder)]
    codes = wait_for(start_ranks(world, script, folder=folder), timeout_s=timeout_s)
    if any(codes):
        shown = [
            f"--- rank {rank} (exit {code})\n"
            + (folder / f"rank-{rank}.txt").read_text(errors="replace")[-TAIL:]
            for rank, code in enumerate(codes)
        ]
        raise AssertionError("\n".join([f"{world} ranks ended with {codes}", *shown]))
    result: dict[str, Any] = torch.load(folder / "results.pt", weights_only=False)
    return result
