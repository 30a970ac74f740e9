"""Kills a sweep at random moments and resumes it: its summary has to be that of one left in peace.

    python benchmarks/sweep_drill.py WORK [--kills 18] [--seed 1]

A small sweep of the real training program (6 settings, 2 seeds, synthetic data) runs on a Ray
cluster of this machine, first in peace, then killed with -9 as often as asked for: the driver with
all it has started, the driver alone, or one worker that trains. Each kill comes a random time after
the last, so it falls into starts, training, pauses and checkpoints alike. A killed driver is
started again with ``--resume``; when a sweep has ended, its ``summary.csv`` is compared byte for
byte, and the next one begins. Kills of nodes: tests/dist/ray_two_nodes.sh.
"""

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("driver and all its own", "driver alone", "worker")
LONGEST_S = 900  # for a sweep that is not killed any more


def prepare(work: Path) -> Path:
    """Data and the sweep's YAML."""
    if not (work / "data" / "index.json").exists():
        for call in (
            ("synthesize", work / "corpus.pkl", "--samples", "640,64,64", "--overwrite"),
            ("prepare", work / "corpus.pkl", work / "data", "--dataset", "demo",
             "--tokenizer", "corpus"),
        ):  # fmt: skip
            subprocess.run([sys.executable, "-m", "lnln_dist", *map(str, call)], check=True)
    raw = {
        "config": str(ROOT / "tests" / "tiny.yaml"),
        "settings": {"data.path": str(work / "data"), "train.epochs": 9, "train.log_steps": 10},
        "axes": {
            "optim.lr": {"grid": [0.0003, 0.003, 0.01]},
            "loss.reconstruction": {"grid": [0.1, 1.0]},
        },
        "seeds": [1, 2],
        "screen": {"seeds": 1, "grace_epochs": 3},
        "confirm": {"best": 2},
        "resources": {"retries": 100},
    }
    path = work / "sweep.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def start(config: Path, output: Path) -> "subprocess.Popen[bytes]":
    """A driver in a session of its own."""
    command = ["-m", "lnln_dist", "sweep", "--config", config, "--output", output, "--resume"]
    with output.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end(members: list[psutil.Process]) -> None:
    for member in members:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def workers(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Those that have a trial."""
    out = []
    for member in family(process):
        try:
            if member.cmdline()[:1] and member.cmdline()[0].startswith("ray::Implicit"):
                out.append(member)
        except psutil.Error:
            continue
    return out


def disturb(process: "subprocess.Popen[bytes]", draw: random.Random) -> str:
    """Kills something after a while; returns what, or nothing if the sweep has ended before."""
    kind = draw.choice(KINDS)
    try:
        process.wait(draw.uniform(2, 30))
        return ""
    except subprocess.TimeoutExpired:
        pass
    if kind == "worker":
        found = workers(process)
        if not found:
            return "none there"
        end([draw.choice(found)])
        return kind
    members = family(process)
    process.kill()
    process.wait()
    if kind == KINDS[0]:
        end(members)
    return kind


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=18)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    work = given.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    config, draw = prepare(work), random.Random(given.seed)
    begun = time.monotonic()
    assert start(config, work / "peace").wait(LONGEST_S) == 0
    print(f"in peace: {time.monotonic() - begun:.0f} s", flush=True)
    wanted = (work / "peace" / "summary.csv").read_bytes()
    kills: collections.Counter[str] = collections.Counter()
    equal, number = 0, 0
    while sum(kills.values()) < given.kills:
        number += 1
        output = work / f"disturbed{number}"
        process = start(config, output)
        while True:
            left = given.kills - sum(kills.values())
            what = disturb(process, draw) if left else process.wait(LONGEST_S) and ""
            if what in KINDS:
                kills[what] += 1
                print(f"{output.name}: killed {what}", flush=True)
            if process.poll() is not None and what in KINDS[:2]:
                process = start(config, output)
            elif process.poll() is not None:
                break
        assert process.returncode == 0, output.with_suffix(".log").read_text()[-3000:]
        same = (output / "summary.csv").read_bytes() == wanted
        equal += same
        print(f"{output.name}: {'equal' if same else 'DIFFERS'}", flush=True)
    print(f"{dict(kills)}: {sum(kills.values())} kills of {number} sweeps, {equal} equal")
    return 0 if equal == number else 1


if __name__ == "__main__":
    sys.exit(main())
