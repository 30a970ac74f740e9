"""Private memory of a rank for data: one pass over a prepared set, whatever its size.

    python benchmarks/memory.py DIR [DIR...]

For every prepared folder a fresh process opens it, goes through one shuffled epoch of micro-batches
of 64 with training noise, and reports what the data added to its private (not file-backed) memory:
the peak of USS sampled at every batch, less what the process had after its imports. The pickle way,
loading all padded arrays, is given for comparison by arithmetic from the index.
"""

import argparse
import subprocess
import sys

PROGRAM = """
import re, sys
from pathlib import Path
from lnln_dist.config import MODALITIES, NoiseConfig
from lnln_dist.data.loader import Collator, Loader
from lnln_dist.data.noise import TrainingNoise
from lnln_dist.data.plan import SamplingPlan
from lnln_dist.data.shards import open_dataset


def anonymous():
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"Anonymous:\\s+(\\d+)", text)[1]) * 1024


start = anonymous()
data = open_dataset(sys.argv[1])
split, index = data.split("train"), data.index
collator = Collator(
    split, TrainingNoise(NoiseConfig(), seed=1, ids=split.ids), padding="batch",
    padded_lengths=index.padded_lengths, unk_id=index.tokenizer.unk_id, pad_id=0,
)
plan = SamplingPlan(size=len(split), batch_size=64, world=1, micro_batch=None, seed=1)
items = [m for step in range(plan.steps_per_epoch) for m in plan.step(0, step, 0).micro_batches]
peak = 0
for number, batch in enumerate(Loader(collator, items)):
    if number % 8 == 0:
        peak = max(peak, anonymous())
frames = sum(index.padded_lengths[m] * width for m, width in index.widths.items()) * 4 * len(split)
size = sum(s.bytes for s in index.splits["train"].shards)
print(len(split), size, (peak - start), frames)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="DIR", help="prepared data")
    print(f"{'samples':>8} {'shards MB':>10} {'private MB':>11} {'padded arrays MB':>17}")
    for folder in parser.parse_args().folders:
        call = [sys.executable, "-c", PROGRAM, folder]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        samples, size, private, padded = map(int, done.stdout.split())
        print(f"{samples:8d} {size / 1e6:10.1f} {private / 1e6:11.1f} {padded / 1e6:17.1f}")


if __name__ == "__main__":
    main()
