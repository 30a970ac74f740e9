"""Sums a number over the GPUs by NCCL, in a process of its own.

Where NCCL does not get through it seldom raises: it hangs, and after a while its watchdog aborts
the process, with everything doctor has found. A process of its own can be ended, the rest reported.
"""

import os
import socket
import subprocess
import sys
from datetime import timedelta

import torch
from torch import distributed

from lnln_dist.runtime.meeting import Peers


def free_port() -> int:
    """A TCP port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def sum_over_gpus(group: Peers, *, timeout_s: float, backend: str = "nccl") -> str:
    """What is wrong with a sum over all ranks; empty if it is right (collective).

    Args:
        group: of this launch.
        timeout_s: after which it counts as a hang.
        backend: nccl; gloo sums on the CPU.
    """
    variables = {
        "MASTER_ADDR": "127.0.0.1",
        **os.environ,
        "MASTER_PORT": str(group.gather_objects(free_port())[0]),
        "RANK": str(group.rank),
        "WORLD_SIZE": str(group.world),
    }
    variables.pop("TORCHELASTIC_USE_AGENT_STORE", None)  # rank 0 makes the store of these processes
    try:
        done = subprocess.run(  # noqa: S603 this program itself
            [sys.executable, "-m", __name__, backend, str(timeout_s)],
            env=variables,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:g} s"
    if done.returncode == 0:
        return ""
    said = (done.stderr + done.stdout).strip().splitlines()
    return said[-1] if said else f"exit code {done.returncode}"


def main(backend: str, timeout_s: float) -> str | None:
    """One rank's part, in its own process."""
    device = torch.device("cpu")
    if backend == "nccl":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    # Longer than whoever waits for this process, so that a hang is not taken for an abort.
    distributed.init_process_group(backend, timeout=timedelta(seconds=2 * timeout_s))
    value = torch.ones(1, device=device)
    distributed.all_reduce(value)
    total, world = int(value.item()), distributed.get_world_size()
    distributed.destroy_process_group()
    return None if total == world else f"a sum of {world} ones is {total}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
