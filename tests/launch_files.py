"""Runs the launch scripts with stand-ins for the programs they start."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = ROOT / "launch"
TRAIN = ["--", "--config", "a b.yaml", "--output", "runs/x"]
LOCAL: list[str | Path] = [LAUNCH / "local.sh"]
MULTI: list[str | Path] = [
    *(LAUNCH / "multinode.sh", "--hosts", "4", "--rank", "3", "--main", "127.0.0.1")
]
# A stand-in writes its arguments and what it sees of the environment, one per line.
RECORD = """#!/usr/bin/env bash
{ printf '%s\\n' "$@"; } >"$RECORDED/NAME.arguments"
seen='^(OMP|GLOO|NCCL|CUDA|TORCH|LNLN|ACCELERATE|SRUN)_'
env | grep -E "$seen" >"$RECORDED/NAME.environment" || true
BODY
"""


class StandIns:
    """Programs of a folder that comes first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.add("nvidia-smi", "exit 9")
        # It has DeepSpeed, whatever is installed here.
        self.add("python", f'case $1 in -c) exit 0 ;; esac\nexec {sys.executable} "$@"')

    def add(self, name: str, body: str = "exit 0") -> None:
        """A stand-in for ``name`` that records how it is called and then runs ``body``."""
        path = self.folder / "bin" / name
        path.write_text(RECORD.replace("NAME", name).replace("BODY", body))
        path.chmod(0o755)

    def add_python(self, body: str = "exit 0") -> None:
        """A stand-in for python that still finds the interface."""
        finds = f'case $1 in launch/interface.py) exec {sys.executable} "$@" ;; esac'
        self.add("python", f"{finds}\n{body}")

    def wait_for(self, pattern: str, count: int = 1) -> None:
        """Until so many files of the folder match."""
        deadline = time.monotonic() + 30
        while len(list(self.folder.glob(pattern))) < count:
            assert time.monotonic() < deadline, f"no {pattern}"
            time.sleep(0.02)

    def environment(self, **extra: str) -> dict[str, str]:
        left_out = ("OMP_", "GLOO_", "NCCL_", "CUDA_", "LNLN_", "ACCELERATE_", "TORCH_")
        left_out += ("SLURM_", "SRUN_", "RAY_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # Not the environment of this checkout, so that the stand-ins are found.
        own = {"PATH": path, "LNLN_VENV": "/nowhere", "RECORDED": str(self.folder)}
        return {**kept, **own, **extra}

    def start(self, *line: str | Path, **extra: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", *map(str, line)],
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(self, *line: str | Path, limit_s: float = 60, **extra: str) -> tuple[int, str]:
        """Exit code and what was said on standard error."""
        child = self.start(*line, **extra)
        _, said = communicate(child, limit_s)
        return child.returncode, said

    def arguments(self, name: str) -> list[str]:
        return (self.folder / f"{name}.arguments").read_text().splitlines()

    def seen(self, name: str) -> dict[str, str]:
        lines = (self.folder / f"{name}.environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


def communicate(child: "subprocess.Popen[str]", limit_s: float) -> tuple[str, str]:
    """Both outputs; what runs longer is killed with everything it started."""
    try:
        return child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        for process in [*psutil.Process(child.pid).children(recursive=True), child]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        child.communicate()
        raise


def after(arguments: list[str], option: str) -> str:
    """The value of an option."""
    return arguments[arguments.index(option) + 1]
