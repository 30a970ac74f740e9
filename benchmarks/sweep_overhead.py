"""What a sweep costs beside training: time per trial, private memory per concurrent trial.

    python benchmarks/sweep_overhead.py time DIR [--trials 12]
    python benchmarks/sweep_overhead.py memory DIR

DIR is prepared data (for ``memory`` of the size of interest). ``time`` screens four settings of a
tiny network on a few seeds, so that trials begin, pause and go on in warm workers. Of the wall time
of each stretch, from the driver handing it out to the driver hearing of its end, it takes off the
training time, from the beginning of the first step to the last scores; what is left is set-up,
checkpointing and Ray. ``memory`` runs one trial, then four at once, and reports each worker
process's largest private memory: what it wrote itself (anonymous pages). The mapped shards are not
part of it; they lie in the page cache once.
"""

import argparse
import json
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from lnln_dist.sweep import session, space, study
from lnln_dist.sweep.records import NOTE, Note

TINY = {
    "model": {
        "encoder": {"name": "tiny", "dropout": 0.0, "tiny_width": 16, "tiny_depth": 1,
                    "tiny_heads": 2},
        "width": 16, "tokens": 2, "heads": 2, "head_width": 8, "embedding_depth": 1,
        "completeness_depth": 1, "proxy_depth": 1, "reconstructor_depth": 1, "hyper_depth": 2,
        "fusion_depth": 1,
    },
    "select": {"rates": [0.5]},
}  # fmt: skip


def run(data: str, output: Path, *, cpus: float, train: dict[str, Any], **more: Any) -> None:
    """A sweep of the tiny network."""
    raw = {
        "settings": {**TINY, "data": {"path": data}, "train": train},
        "resources": {"cpus": cpus},
        **more,
    }
    session.run(space.freeze(study.build(raw)), output, cpus=2)


def stretches(output: Path) -> Iterator[tuple[Path, Any]]:
    """(run folder, what is noted) of every stretch of training, in the order of their ends."""
    for note in sorted(output.glob(f"trials/*/{NOTE}"), key=lambda path: path.stat().st_mtime):
        for stretch in Note.model_validate_json(note.read_bytes()).stretches:
            yield note.parent, stretch


def overheads(output: Path) -> Iterator[tuple[str, float]]:
    """(kind, seconds beside training) of every stretch."""
    seen: set[int] = set()
    for run, stretch in stretches(output):
        rows = [json.loads(row) for row in (run / "log.jsonl").read_text().splitlines()]
        rows = [row for row in rows if stretch.start < row.get("epoch", 0) <= stretch.epoch]
        first = next(row for row in rows if row["kind"] == "train")
        last = [row for row in rows if row["kind"] == "score"][-1]
        training = last["time"] - first["time"] + first["speed/step_ms"] / 1000
        warm = "warm" if stretch.pid in seen else "cold"
        kind = "gone on after a pause" if stretch.start else f"begun in a {warm} worker"
        yield kind, stretch.wall_s - training
        seen.add(stretch.pid)


def measure_time(data: str, trials: int) -> None:
    """Prints the time that is not training, per trial begun and per trial gone on."""
    seeds = list(range(trials // 4))
    screened = {
        "axes": {"optim.lr": {"grid": [1e-4, 3e-4, 1e-3, 3e-3]}},
        "screen": {"seeds": len(seeds), "reduction": 2},
        "confirm": {"best": 2},
    }
    train = {"epochs": 4, "log_steps": 1}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "sweep"
        run(data, output, cpus=1, train=train, seeds=seeds, **screened)
        found = list(overheads(output))
    for kind in sorted({kind for kind, _ in found}):
        left = [seconds for other, seconds in found if other == kind]
        print(
            f"{kind}: {len(left)} stretches, {statistics.median(left):.2f} s beside training "
            f"(median), {max(left):.2f} s at most"
        )


@contextmanager
def watching() -> Iterator[dict[int, int]]:
    """Most anonymous bytes of every Ray worker below this process, by process."""
    peaks: dict[int, int] = {}
    over = threading.Event()

    def look() -> None:
        own = psutil.Process(os.getpid())
        while not over.wait(0.5):
            for child in own.children(recursive=True):
                try:
                    if child.cmdline()[0].startswith("ray::"):
                        rollup = Path(f"/proc/{child.pid}/smaps_rollup").read_text()
                        found = re.search(r"Anonymous:\s+(\d+) kB", rollup)
                        anonymous = 1024 * int(found[1]) if found else 0
                        peaks[child.pid] = max(peaks.get(child.pid, 0), anonymous)
                except (psutil.Error, OSError, IndexError):
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def measure_memory(data: str) -> None:
    """Prints the private memory of one trial and of four at once."""
    for trials in (1, 4):
        with tempfile.TemporaryDirectory() as folder, watching() as peaks:
            begin = time.perf_counter()
            # One epoch is enough: every sample is read once.
            seeds = list(range(trials))
            run(data, Path(folder) / "sweep", cpus=0.5, train={"epochs": 1}, seeds=seeds)
            wall = time.perf_counter() - begin
        largest = sorted(peaks.values(), reverse=True)[:trials]
        each = ", ".join(f"{peak / 2**20:.0f}" for peak in largest)
        print(
            f"{trials} trials at once: {sum(largest) / 2**20:.0f} MiB private "
            f"(each {each}), {wall:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["time", "memory"])
    parser.add_argument("data", metavar="DIR", help="prepared data")
    parser.add_argument("--trials", type=int, default=12, help="trials to time")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.what == "time":
        measure_time(given.data, given.trials)
    else:
        measure_memory(given.data)


if __name__ == "__main__":
    main()
