"""Samples per second of loading with noise, on one core, at MOSI-like lengths.

    python benchmarks/loader.py [--samples 1284] [--repeats 5]

A padded feature file of random content is written to a temporary folder and prepared as shards.
Measured is one epoch of shuffled micro-batches of 64 with training noise: masks drawn, sequences
padded and made into tensors, and the noise applied to the frames (which the model does in
training). The reference is what published code does: the padded arrays of the pickle in memory,
RandomState masks and a product for every sample, stacked by torch's default collation. Both run
in turn, so that their ratio says more than the absolute numbers of a shared machine.
"""

import argparse
import os
import pickle
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lnln_dist.config import MODALITIES, NoiseConfig
from lnln_dist.data.convert import prepare
from lnln_dist.data.loader import Collator, Loader
from lnln_dist.data.noise import TrainingNoise
from lnln_dist.data.plan import SamplingPlan
from lnln_dist.data.shards import open_dataset

BATCH = 64
CLS, SEP, UNK, PAD = 101, 102, 100, 0
PADDED = {"text": 50, "audio": 375, "vision": 500}
WIDTHS = {"audio": 5, "vision": 20}
MEANS = {"text": 15, "audio": 150, "vision": 200}  # places; gamma-distributed, cut at PADDED


def feature_file(size: int) -> dict:
    """A split as MMSA files hold it."""
    rng = np.random.default_rng(size)
    lengths = {
        m: np.clip(rng.gamma(2.5, MEANS[m] / 2.5, size).astype(int), 3, PADDED[m])
        for m in MODALITIES
    }
    valid = {m: np.arange(PADDED[m]) < lengths[m][:, None] for m in MODALITIES}
    ids = rng.integers(999, 9999, (size, PADDED["text"]))
    ids[:, 0] = CLS
    ids[np.arange(size), lengths["text"] - 1] = SEP
    mask = valid["text"].astype(np.int64)
    frames = {
        m: rng.standard_normal((size, PADDED[m], w), dtype=np.float32) * valid[m][..., None]
        for m, w in WIDTHS.items()
    }
    return {
        "id": [f"video{size}_{i // 14}$_${i % 14}" for i in range(size)],
        "raw_text": ["words"] * size,
        "text_bert": np.stack([ids * mask, mask, 0 * mask], axis=1),
        "regression_labels": rng.uniform(-3, 3, size).astype(np.float32),
        **frames,
        **{f"{m}_lengths": lengths[m].tolist() for m in WIDTHS},
    }


class PaddedSamples(Dataset):
    """The reference: padded arrays, legacy generator, one sample at a time."""

    def __init__(self, path: Path) -> None:
        self.data = pickle.loads(path.read_bytes())["train"]
        self.lengths = {m: np.array(self.data[f"{m}_lengths"]) for m in WIDTHS}
        self.lengths["text"] = self.data["text_bert"][:, 1].sum(axis=1)
        self.random = np.random.RandomState(1)
        self.rates = {m: self.random.uniform(size=len(self)) for m in MODALITIES}

    def __len__(self) -> int:
        return len(self.data["id"])

    def _keep(self, modality: str, row: int) -> np.ndarray:
        drawn = self.random.uniform(size=PADDED[modality]) > self.rates[modality][row]
        return drawn & (np.arange(PADDED[modality]) < self.lengths[modality][row])

    def __getitem__(self, row: int) -> dict[str, object]:
        ids, valid, _ = text = self.data["text_bert"][row]
        mask = self._keep("text", row)
        mask[[0, self.lengths["text"][row] - 1]] = True
        noisy = ids * mask + UNK * (~mask & (valid == 1))
        out = {"text": text, "noisy text": noisy, "label": self.data["regression_labels"][row]}
        for m in WIDTHS:
            frames, mask = self.data[m][row], self._keep(m, row)
            out |= {m: frames, f"noisy {m}": frames * mask[:, None], f"{m} mask": mask}
        return out


def seconds(batches) -> float:
    """Time of one pass, the noise applied to the frames of our batches."""
    start = time.perf_counter()
    for batch in batches:
        if not isinstance(batch, dict):
            batch.audio.noisy(), batch.vision.noisy()
    return time.perf_counter() - start


def contenders(folder: Path, size: int) -> dict:
    """Functions that load one epoch and return the seconds it took."""
    sizes = {"train": size, "valid": 7, "test": 8}
    (folder / "source.pkl").write_bytes(
        pickle.dumps({s: feature_file(n) for s, n in sizes.items()})
    )
    prepare(folder / "source.pkl", folder / "data", dataset="mosi")
    split = open_dataset(folder / "data").split("train")
    noise = TrainingNoise(NoiseConfig(), seed=1, ids=split.ids)
    plan = SamplingPlan(size=len(split), batch_size=BATCH, world=1, micro_batch=None, seed=1)
    epochs = iter(range(10**6))  # order and rates are drawn anew, as in training

    def ours(padding: str) -> float:
        make = Collator(
            split, noise, padding=padding, padded_lengths=PADDED, unk_id=UNK, pad_id=PAD
        )
        epoch, steps = next(epochs), range(plan.steps_per_epoch)
        items = (item for step in steps for item in plan.step(epoch, step, 0).micro_batches)
        return seconds(Loader(make, items))

    reference = DataLoader(PaddedSamples(folder / "source.pkl"), batch_size=BATCH, shuffle=True)
    lengths = ", ".join(f"{m} {split.lengths[m].mean():.0f}/{PADDED[m]}" for m in MODALITIES)
    print(f"{size} samples, mean/padded lengths {lengths}, batch {BATCH}, 1 thread")
    return {
        "padded to the batch": lambda: ours("batch"),
        "padded to the corpus": lambda: ours("corpus"),
        "reference": lambda: seconds(reference),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1284)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        runs = contenders(Path(folder), options.samples)
        times = {name: [] for name in runs}
        for _ in range(options.repeats + 1):
            for name, run in runs.items():
                times[name].append(run())
    times = {name: found[1:] for name, found in times.items()}  # the first pass warms up
    speed = {name: options.samples / statistics.median(found) for name, found in times.items()}
    print(f"{'':<22}{'samples/s':>12}{'ratio':>8}{'slowest/fastest':>18}")
    for name, value in speed.items():
        spread = max(times[name]) / min(times[name])
        print(f"{name:<22}{value:>12,.0f}{value / speed['reference']:>8.2f}{spread:>18.2f}")


if __name__ == "__main__":
    main()
