"""Robust evaluation, ten rates x three seeds: this checkout against another one.

    OMP_NUM_THREADS=1 python benchmarks/evaluate.py RUN --other CHECKOUT [--repeats 3] [--workers 0]

RUN is a run folder that both can open, made by the older one. Each evaluation is a process of its
own, the two checkouts in turn. Reports the median processor seconds of ``evaluate_runs`` (imports
and loader processes left out), the peak memory, and how far the predictions are apart.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parents[1]
PROGRAM = """
import json, resource, sys, time
from pathlib import Path
import torch
import lnln_dist
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.runtime import Runtime

torch.set_num_threads(1)
runtime = Runtime(cpu=True)
begin = time.process_time()
evaluate_runs(
    [Path(sys.argv[1])], output=Path(sys.argv[2]), runtime=runtime, workers=int(sys.argv[3])
)
seconds = time.process_time() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([lnln_dist.__file__, seconds, peak]))
"""


def evaluate(checkout: Path, run: Path, output: Path, workers: int) -> tuple[float, float]:
    """(seconds, MiB at most) of one evaluation in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(run), str(output), str(workers)],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    place, seconds, peak = json.loads(done.stdout.splitlines()[-1])
    assert Path(place).is_relative_to(checkout), place
    return seconds, peak


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--other", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    checkouts = {"other": given.other.resolve(), "this": HERE}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.repeats):
            for name, checkout in checkouts.items():
                output = Path(folder) / f"{name}{number}"
                found[name].append(evaluate(checkout, given.run.resolve(), output, given.workers))
                print(name, *(f"{value:.1f}" for value in found[name][-1]), flush=True)
        old, new = (
            pd.read_parquet(Path(folder) / f"{name}0" / "predictions.parquet") for name in checkouts
        )
    middle = {
        name: [statistics.median(column) for column in zip(*pairs, strict=True)]
        for name, pairs in found.items()
    }
    for name, (seconds, peak) in middle.items():
        print(f"{name}: {seconds:.2f} s, peak {peak:.0f} MiB (medians of {given.repeats})")
    seconds, peak = (b / a for a, b in zip(middle["other"], middle["this"], strict=True))
    apart = (old.prediction - new.prediction).abs().max()
    same = bool((old[["id", "rate", "noise_seed"]] == new[["id", "rate", "noise_seed"]]).all(None))
    print(f"this / other: time {seconds:.3f}, memory {peak:.3f}")
    print(f"same rows: {same}; predictions at most {apart:.1e} apart ({len(new)} of them)")


if __name__ == "__main__":
    main()
