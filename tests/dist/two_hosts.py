"""Two hosts on this machine for tests, by ``namespaces.sh``."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from launcher import end, environment

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ["bash", str(ROOT / "tests" / "dist" / "namespaces.sh")]


class Hosts:
    """Hosts 1 and 2; what is started on them ends with the test."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.main = f"{name}1"
        self._children: list[subprocess.Popen[bytes]] = []

    def _do(self, *verb: str) -> None:
        subprocess.run([*SCRIPT, verb[0], self.name, *verb[1:]], check=True, capture_output=True)

    def cut(self) -> None:
        """Takes the link between them down."""
        self._do("cut")

    def mend(self) -> None:
        """Brings it up again."""
        self._do("mend")

    def start(
        self, host: int, command: Sequence[str], *, log: Path, **extra: str
    ) -> "subprocess.Popen[bytes]":
        """Runs a command on a host; everything it says goes to ``log``."""
        variables = environment(**extra)
        del variables["GLOO_SOCKET_IFNAME"]  # there is a real network to choose from
        with log.open("wb") as out:
            child = subprocess.Popen(
                [*SCRIPT, "run", self.name, str(host), *command],
                env=variables,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
            )
        self._children.append(child)
        return child

    def multinode(
        self, options: Sequence[str], training: Sequence[str | Path], *, logs: Path
    ) -> "list[subprocess.Popen[bytes]]":
        """Starts ``launch/multinode.sh`` with one CPU process on each host."""
        port = str(29000 + os.getpid() % 900)
        line = ["bash", "launch/multinode.sh", "--hosts", "2", "--main", self.main, "--cpu", "1"]
        return [
            self.start(
                rank + 1,
                [*line, "--rank", str(rank), "--port", port, *options, "--", *map(str, training)],
                log=logs.with_suffix(f".host{rank}"),
            )
            for rank in range(2)
        ]

    def close(self) -> None:
        """Kills what still runs and removes the hosts."""
        for child in self._children:
            end(child)
        self._do("down")


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Two hosts for as long as the block, or a skip where they cannot be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    name, net = f"t{os.getpid() % 10**6}", str(64 + os.getpid() % 64)
    made = subprocess.run([*SCRIPT, "up", name, net], capture_output=True, text=True, check=False)
    hosts = Hosts(name)
    try:
        if made.returncode:
            pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()[-200:]}")
        yield hosts
    finally:
        hosts.close()


def wait_until(true: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)


def exit_codes(children: Sequence["subprocess.Popen[bytes]"], *, timeout_s: float) -> list[int]:
    """Exit codes of all, which have to end in time."""
    deadline = time.monotonic() + timeout_s
    return [child.wait(max(0.1, deadline - time.monotonic())) for child in children]


def workers(child: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The training processes below a launch script."""
    found = []
    for process in psutil.Process(child.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if "lnln_dist.train" in line and not any("torchrun" in part for part in line):
                found.append(process)
    return found
