"""Kill -9 at random moments, resume, and compare with an undisturbed run.

    python benchmarks/fault_drill.py DIR [--kills 24] [--processes 1,2] [--seed 1]

Trains a small network on synthetic data through the real command line, once undisturbed and once
killed again and again: while it starts, at a random moment of training, and while a checkpoint is
being written; the whole launch at once, one rank of it, or its launcher alone. After every kill the
run is started again with ``--resume``. At the end weights, optimizer state and best checkpoint have
to be the undisturbed run's, bit for bit (CPU, float32, dropout on); exit code 1 if they are not.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import psutil
import torch
from safetensors.torch import load_file

from lnln_dist.files import PENDING

ROOT = Path(__file__).resolve().parents[1]
EPOCHS, EVERY = 200, 5  # of five steps each; steps between checkpoints
MOMENTS = ("start", "training", "writing")
TARGETS = ("all", "one rank", "launcher")
STOP_S = 60.0  # within which what was not killed has to end
COMPARED = (
    f"checkpoints/step-{5 * EPOCHS:08d}/model.safetensors",
    f"checkpoints/step-{5 * EPOCHS:08d}/optimizer.safetensors",
    "best/best.safetensors",
)


def launch(world: int, data: Path, output: Path) -> "subprocess.Popen[bytes]":
    """Starts or goes on with a run; a process group of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m"]
    if world > 1:
        command += ["accelerate.commands.launch", "--multi_gpu", "--num_processes", str(world)]
        command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--main_process_port", str(port), "-m"]
    command += ["lnln_dist.train", "--config", str(ROOT / "tests" / "tiny.yaml")]
    command += ["--data.path", str(data), "--output", str(output), "--resume"]
    command += ["--train.epochs", str(EPOCHS), "--train.checkpoint_steps", str(EVERY)]
    command += ["--model.encoder.dropout", "0.1"]
    variables = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    if world > 1:
        variables["ACCELERATE_USE_CPU"] = "true"
    with output.with_suffix(".txt").open("ab") as log:
        return subprocess.Popen(
            command,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
        )


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    """Kills a launch with its ranks, which are in sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        launcher = psutil.Process(process.pid)
        for one in (launcher, *launcher.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


def kill_part(process: "subprocess.Popen[bytes]", target: str, chance: Random) -> float:
    """Kills one rank, or the launcher alone; seconds until the others had ended by themselves."""
    launcher = psutil.Process(process.pid)
    there = [launcher, *launcher.children(recursive=True)]
    ranks = [one for one in there[1:] if "lnln_dist.train" in one.cmdline()]
    begin = time.monotonic()
    if target == "one rank" and ranks:
        chance.choice(ranks).kill()
    else:
        launcher.kill()
    _, left = psutil.wait_procs(there, timeout=STOP_S)
    took = time.monotonic() - begin
    for one in left:
        one.kill()
    process.wait()
    if left:
        raise SystemExit(f"{len(left)} processes were still there {STOP_S:.0f} s later")
    return took


def newest(output: Path) -> str:
    """Name of the newest committed checkpoint."""
    return max((p.name for p in (output / "checkpoints").glob("step-*")), default="")


def wait_for(moment: str, process: "subprocess.Popen[bytes]", output: Path, chance: Random) -> bool:
    """Waits for the moment to kill; False if the run ended before it came."""
    if moment == "start":
        time.sleep(chance.uniform(0.1, 4.0))
        return process.poll() is None
    before, delay = newest(output), chance.uniform(0.0, 0.3)
    folder = output / "checkpoints"
    while process.poll() is None:
        if newest(output) != before:
            if moment == "training":
                time.sleep(delay)
                return process.poll() is None
            if any(folder.glob(f"{PENDING}step-*-*")):
                return True
        time.sleep(0.0005)
    return False


def drill(world: int, data: Path, folder: Path, kills: int, chance: Random) -> bool:
    """One run, killed ``kills`` times; whether it ended as the undisturbed one did."""
    whole, broken = folder / f"undisturbed-{world}", folder / f"killed-{world}"
    if launch(world, data, whole).wait():
        raise SystemExit(f"the undisturbed run failed: see {whole}.txt")
    done: Counter[tuple[str, str]] = Counter()
    stops: dict[str, list[float]] = {}
    for number in range(kills):
        moment = MOMENTS[number % len(MOMENTS)]
        target = chance.choice(TARGETS) if world > 1 else "all"
        process = launch(world, data, broken)
        if not wait_for(moment, process, broken, chance):
            process.wait()
            raise SystemExit(f"ended before kill {number + 1}: see {broken}.txt; raise EPOCHS")
        if target == "all":
            kill_all(process)
        else:
            stops.setdefault(target, []).append(kill_part(process, target, chance))
        done[moment, target] += 1
        at = newest(broken)
        print(f"{world} processes, kill {number + 1}: {moment}, {target}, at {at}", flush=True)
    if launch(world, data, broken).wait():
        raise SystemExit(f"could not be resumed: see {broken}.txt")
    print(f"{world} processes: {kills} kills " + str({" ".join(k): n for k, n in done.items()}))
    for target, seconds in stops.items():
        print(f"after the death of {target} the others ended within {max(seconds):.1f} s")
    same = all(equal(whole / name, broken / name) for name in COMPARED)
    print(f"{world} processes: {'equal bit for bit' if same else 'DIFFERENT'}", flush=True)
    return same


def equal(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=24, help="for each number of processes")
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    folder = given.folder.resolve()
    corpus, data = folder / "corpus.pkl", folder / "data"
    for verb in (
        ["synthesize", corpus, "--samples", "72,20,24"],
        ["prepare", corpus, data, "--dataset", "demo", "--tokenizer", "corpus"],
    ):
        subprocess.run([sys.executable, "-m", "lnln_dist", *map(str, verb)], check=True, cwd=ROOT)
    chance = Random(given.seed)
    worlds = [int(world) for world in given.processes.split(",")]
    same = [drill(world, data, folder, given.kills, chance) for world in worlds]
    return int(not all(same))


if __name__ == "__main__":
    sys.exit(main())
