"""Processor time of the training noise alone, pattern by pattern, at MOSI-like lengths.

    OMP_NUM_THREADS=1 python benchmarks/noise.py [--other CHECKOUT] [--repeats 9]

Measured is one epoch of masks for 1284 samples in batches of 64, in turn for every pattern; the
ratios are to independent places with rates and places of each modality's own, the default. With
``--other`` the default of another checkout's ``data/noise.py`` is measured beside them.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from loader import BATCH, MEANS, PADDED

from lnln_dist.config import MODALITIES, NoiseConfig
from lnln_dist.data import noise

SIZE = 1284
KINDS = {
    "random": NoiseConfig(),
    "random, shared": NoiseConfig(shared=True),
    "block": NoiseConfig(pattern="block"),
    "block, 3 spans": NoiseConfig(pattern="block", spans=3),
    "block, middle": NoiseConfig(pattern="block", place="middle"),
    "modality": NoiseConfig(pattern="modality"),
}


def epoch_of(stream, lengths, order, epoch) -> float:
    """Seconds of the processor for the masks of one epoch."""
    start = time.process_time()
    for at in range(0, SIZE, BATCH):
        rows = order[at : at + BATCH]
        own = {m: lengths[m][rows] for m in MODALITIES}
        stream.draw(rows, epoch, own, {m: int(own[m].max()) for m in MODALITIES})
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    lengths = {
        m: np.clip(rng.gamma(2.5, MEANS[m] / 2.5, SIZE).astype(np.int64), 3, PADDED[m])
        for m in MODALITIES
    }
    ids = [f"video{i // 14}$_${i}" for i in range(SIZE)]
    streams = {kind: noise.TrainingNoise(config, seed=1, ids=ids) for kind, config in KINDS.items()}
    if options.other:
        path = options.other / "lnln_dist" / "data" / "noise.py"
        spec = importlib.util.spec_from_file_location("other_noise", path)
        module = sys.modules["other_noise"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        other = module.TrainingNoise(NoiseConfig(), seed=1, ids=ids)
        streams["random, other checkout"] = other
    order = rng.permutation(SIZE)
    times = {kind: [] for kind in streams}
    for epoch in range(options.repeats + 1):
        for kind, stream in streams.items():
            times[kind].append(epoch_of(stream, lengths, order, epoch))
    middle = {kind: statistics.median(found[1:]) for kind, found in times.items()}
    for kind, value in middle.items():
        print(f"{kind:<24}{1000 * value:>9.1f} ms{value / middle['random']:>8.2f}")


if __name__ == "__main__":
    main()
