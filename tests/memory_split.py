"""A small split in memory and what the loader's tests do with it."""

import numpy as np
import torch

from lnln_dist.config import NoiseConfig
from lnln_dist.data.loader import Collator
from lnln_dist.data.noise import TrainingNoise
from lnln_dist.data.plan import MicroBatch

SIZE = 23
PADDED = {"text": 12, "audio": 15, "vision": 9}
PAD, UNK, CLS, SEP = 0, 100, 101, 102


class MemorySplit:
    """Samples of a split in plain arrays."""

    def __init__(self, size=SIZE, padded=PADDED, widths=(5, 3)):
        rng = np.random.default_rng(size)
        self.gaps = {}  # modality -> per row, places that were never there
        self.ids = [f"video{i // 3}$_${i}" for i in range(size)]
        self.labels = rng.uniform(-3, 3, size).astype(np.float32)
        low = {"text": 2, "audio": 1, "vision": 1}
        self.lengths = {m: rng.integers(low[m], t + 1, size) for m, t in padded.items()}
        self._tokens = [
            np.array([CLS, *rng.integers(999, 9999, n - 2), SEP], dtype=np.int32)
            for n in self.lengths["text"]
        ]
        self._frames = {
            m: [rng.normal(size=(n, w)).astype(np.float32) for n in self.lengths[m]]
            for m, w in zip(("audio", "vision"), widths, strict=True)
        }

    def tokens(self, row):
        return self._tokens[row]

    def segments(self, row):
        return (np.arange(len(self._tokens[row])) % 2).astype(np.int8)

    def frames(self, modality, row):
        return self._frames[modality][row]

    def seen(self, modality, row):
        return None if modality not in self.gaps else ~self.gaps[modality][row]


def collator(noise=None, *, padding="batch", split=None, padded=PADDED):
    split = split or MemorySplit()
    noise = noise or TrainingNoise(NoiseConfig(), seed=7, ids=split.ids)
    return Collator(split, noise, padding=padding, padded_lengths=padded, unk_id=UNK, pad_id=PAD)


def micro(rows, weights=None, epoch=0):
    rows = np.array(rows)
    weights = np.ones(len(rows)) if weights is None else np.array(weights)
    return MicroBatch(epoch, rows, weights.astype(np.float32))


def leaves(batch):
    parts = [t for part in batch for t in (part if isinstance(part, tuple) else (part,))]
    return [t for t in parts if t is not None]


def equal(a, b):
    pairs = zip(leaves(a), leaves(b), strict=True)
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)
