import itertools
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lnln_dist.config import MODALITIES, NoiseConfig
from lnln_dist.data.loader import Collator, make_loader
from lnln_dist.data.noise import CleanNoise, TrainingNoise
from lnln_dist.data.plan import MicroBatch, Plan, sequential
from lnln_dist.errors import DataError
from lnln_dist.types import Batch

SIZE = 23
PADDED = {"text": 12, "audio": 15, "vision": 9}
PAD, UNK = 0, 100
# torch advises against more workers than cores, which is what is asked for here.
many_workers = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class MemorySplit:
    """Samples of a split in plain arrays."""

    def __init__(self, size=SIZE, padded=PADDED, widths=(5, 3)):
        rng = np.random.default_rng(size)
        self.ids = [f"video{i // 3}$_${i}" for i in range(size)]
        self.labels = rng.uniform(-3, 3, size).astype(np.float32)
        self.lengths = {m: rng.integers(1, t + 1, size) for m, t in padded.items()}
        self._tokens = [rng.integers(101, 999, n, dtype=np.int32) for n in self.lengths["text"]]
        self._frames = {
            m: [rng.normal(size=(n, w)).astype(np.float32) for n in self.lengths[m]]
            for m, w in zip(("audio", "vision"), widths, strict=True)
        }

    def tokens(self, row):
        return self._tokens[row]

    def segments(self, row):
        return (self._tokens[row] % 2).astype(np.int8)

    def frames(self, modality, row):
        return self._frames[modality][row]


def collator(noise=None, *, padding="batch", split=None, padded=PADDED):
    split = split or MemorySplit()
    noise = noise or TrainingNoise(NoiseConfig(), seed=7, ids=split.ids)
    return Collator(split, noise, padding=padding, padded_lengths=padded, unk_id=UNK, pad_id=PAD)


def micro(rows, weights=None, epoch=0):
    rows = np.array(rows)
    weights = np.ones(len(rows)) if weights is None else np.array(weights)
    return MicroBatch(epoch, 0, rows, weights.astype(np.float32), True)


def leaves(batch):
    return [t for part in batch for t in (part if isinstance(part, tuple) else (part,))]


def equal(a, b):
    pairs = zip(leaves(a), leaves(b), strict=True)
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("padding", ["batch", "corpus"])
def test_batch_holds_the_samples_and_their_noise(padding):
    split = MemorySplit()
    rows = [5, 0, 17]
    noise = TrainingNoise(NoiseConfig(clean_share=0.0), seed=7, ids=split.ids)
    batch = collator(noise, padding=padding)(micro(rows, weights=[1, 1, 0], epoch=3))
    assert batch.row_B.tolist() == rows
    assert batch.weight_B.tolist() == [1, 1, 0]
    assert batch.label_B.tolist() == split.labels[rows].tolist()
    lengths = {m: split.lengths[m][rows] for m in MODALITIES}
    width = {m: PADDED[m] if padding == "corpus" else int(lengths[m].max()) for m in MODALITIES}
    draws = noise.draw(np.array(rows), 3, lengths, width)
    for m in MODALITIES:
        part = getattr(batch, m)
        assert part.valid_BT.shape == (3, width[m])
        assert part.valid_BT.sum(dim=1).tolist() == lengths[m].tolist()
        assert np.array_equal(part.keep_BT, draws[m].keep_BT)
        assert np.array_equal(part.rate_B, draws[m].rate_B)
    text = batch.text
    for i, row in enumerate(rows):
        n = lengths["text"][i]
        assert text.ids_BT[i, :n].tolist() == split.tokens(row).tolist()
        assert text.segments_BT[i, :n].tolist() == split.segments(row).tolist()
        assert (text.ids_BT[i, n:] == PAD).all()
        assert (text.noisy_ids_BT[i, n:] == PAD).all()
        kept = torch.where(text.keep_BT[i, :n], text.ids_BT[i, :n], UNK)
        assert text.noisy_ids_BT[i, :n].tolist() == kept.tolist()
        for m in ("audio", "vision"):
            n, part = lengths[m][i], getattr(batch, m)
            assert np.array_equal(part.frames_BTD[i, :n], split.frames(m, row))
            assert not part.frames_BTD[i, n:].any()
            assert torch.equal(part.noisy()[i], part.frames_BTD[i] * part.keep_BT[i, :, None])
    assert (text.noisy_ids_BT == UNK).any()


def test_types_are_those_of_the_legend():
    batch = collator()(micro([1, 2]))
    text, audio = batch.text, batch.audio
    assert {t.dtype for t in (text.ids_BT, text.noisy_ids_BT, text.segments_BT)} == {torch.int64}
    assert {t.dtype for t in (text.valid_BT, text.keep_BT, audio.keep_BT)} == {torch.bool}
    floats = (text.rate_B, audio.rate_B, audio.frames_BTD, batch.label_B, batch.weight_B)
    assert {t.dtype for t in floats} == {torch.float32}
    assert batch.row_B.dtype == torch.int64


def test_pad_id_other_than_zero():
    split = MemorySplit()
    made = Collator(
        split, CleanNoise(), padding="corpus", padded_lengths=PADDED, unk_id=3, pad_id=1
    )(micro([0]))
    assert (made.text.ids_BT[~made.text.valid_BT] == 1).all()
    assert torch.equal(made.text.ids_BT, made.text.noisy_ids_BT)


def test_all_empty_sequences_have_a_place():
    split = MemorySplit()
    split.lengths["audio"][:] = 0
    split._frames["audio"] = [np.zeros((0, 5), dtype=np.float32)] * SIZE
    batch = collator(split=split)(micro([0, 1]))
    assert batch.audio.frames_BTD.shape == (2, 1, 5)
    assert not batch.audio.valid_BT.any()


def test_too_long_samples_are_named():
    split = MemorySplit()
    split.lengths["vision"][[4, 9]] = 10
    with pytest.raises(DataError) as info:
        collator(split=split)
    assert str(info.value).startswith(
        "sample 'video1$_$4': 10 places of vision, but the model takes at most 9 (2 such samples);"
    )
    assert "\n" not in str(info.value)


def whole_epoch(*, world=1, micro_batch=None, padding="batch", epoch=2, batch_size=8):
    """Valid tokens, frames, masks and rates of every sample, whatever it was loaded with."""
    plan = Plan(size=SIZE, batch_size=batch_size, world=world, micro_batch=micro_batch, seed=3)
    make = collator(padding=padding)
    found = {}
    for step, rank in itertools.product(range(plan.steps_per_epoch), range(world)):
        for item in plan.micro_batches(epoch, step, rank):
            batch = make(item)
            for i, row in enumerate(batch.row_B.tolist()):
                if not batch.weight_B[i]:
                    continue
                assert row not in found
                found[row] = [batch.label_B[i]]
                for part in (batch.text, batch.audio, batch.vision):
                    valid = part.valid_BT[i]
                    found[row] += [t[i][valid] for t in part if t.ndim > 1] + [part.rate_B[i]]
    assert len(found) == SIZE
    return found


@pytest.mark.parametrize(
    "other",
    [
        {"world": 2},
        {"world": 3, "micro_batch": 2},
        {"micro_batch": 1},
        {"batch_size": 5},
        {"padding": "corpus"},
    ],
)
def test_same_samples_and_masks_for_any_ranks_and_batches(other):
    one, two = whole_epoch(), whole_epoch(**other)
    for row, values in one.items():
        assert all(torch.equal(a, b) for a, b in zip(values, two[row], strict=True))
    next_epoch = whole_epoch(epoch=3)
    assert any(
        not torch.equal(a, b)
        for row, values in one.items()
        for a, b in zip(values, next_epoch[row], strict=True)
    )


@many_workers
@pytest.mark.parametrize("workers", [1, 4])
def test_same_batches_for_any_number_of_workers(workers):
    plan = Plan(size=SIZE, batch_size=6, world=1, micro_batch=2, seed=3)
    items = [i for s in range(plan.steps_per_epoch) for i in plan.micro_batches(1, s, 0)]
    alone = list(make_loader(collator(), items))
    loader = make_loader(collator(), items, workers=workers, prefetch=2)
    assert len(loader) == len(items)
    for _ in range(2):  # the second time with the same processes
        several = list(loader)
        assert len(several) == len(items) == len(alone)
        assert all(isinstance(b, Batch) for b in several)
        assert all(equal(a, b) for a, b in zip(alone, several, strict=True))


def test_resuming_is_starting_elsewhere():
    class Rest:
        start = 0

        def __iter__(self):
            return iter(sequential(SIZE, 4, 1, 0)[self.start :])

    items = Rest()
    loader = make_loader(collator(), items, workers=1)
    whole = list(loader)
    items.start = 3
    rest = list(loader)
    assert len(rest) == len(whole) - 3
    assert all(equal(a, b) for a, b in zip(whole[3:], rest, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_random_state_alone(workers):
    """Torch would take a number from the global generator, and dropout would change on resume."""
    before = torch.get_rng_state()
    list(make_loader(collator(), sequential(SIZE, 4, 1, 0), workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_collator_travels_to_other_processes():
    made = collator()
    item = micro([3, 1, 4])
    made(item)
    assert equal(pickle.loads(pickle.dumps(made))(item), made(item))


class Failing(CleanNoise):
    def __init__(self, action):
        self.action = action

    def draw(self, rows, epoch, lengths, width):
        if 13 in rows:
            self.action()
        return super().draw(rows, epoch, lengths, width)


def _damaged():
    raise DataError("shard 3 is damaged: run lnln-dist verify")


def _defect():
    raise ZeroDivisionError("a defect")


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_of_workers_come_out_as_they_were(workers):
    items = sequential(SIZE, 4, 1, 0)
    loader = make_loader(collator(Failing(_damaged)), items, workers=workers)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    with pytest.raises(DataError, match=r"^shard 3 is damaged: run lnln-dist verify$"):
        next(batches)
    loader = make_loader(collator(Failing(_defect)), items, workers=workers)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        list(loader)


def test_a_killed_worker_is_one_line():
    loader = make_loader(collator(Failing(_die)), sequential(SIZE, 4, 1, 0), workers=1)
    with pytest.raises(DataError, match="a loader process died") as info:
        list(loader)
    assert "data.workers: 0" in str(info.value)
    assert "\n" not in str(info.value)


class Probe(CleanNoise):
    """Reports on its process in the place of the rates."""

    def draw(self, rows, epoch, lengths, width):
        found = super().draw(rows, epoch, lengths, width)
        ignores = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        values = {"text": torch.get_num_threads(), "audio": ignores, "vision": 0}
        return {m: d._replace(rate_B=d.rate_B + np.float32(values[m])) for m, d in found.items()}


def test_workers_have_one_thread_and_leave_interrupts_to_the_parent():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (batch,) = make_loader(collator(Probe()), [micro([0])], workers=1)
        (here,) = make_loader(collator(Probe()), [micro([0])])
    finally:
        torch.set_num_threads(threads)
    assert (batch.text.rate_B.item(), batch.audio.rate_B.item()) == (1, 1)
    assert (here.text.rate_B.item(), here.audio.rate_B.item()) == (2, 0)


ORPHANS = """
import multiprocessing, sys, time
sys.path.insert(0, {folder!r})
from test_data_loader import *
batches = iter(make_loader(collator(), sequential(SIZE, 1, 1, 0), workers=2, prefetch=2))
next(batches)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed():
    script = ORPHANS.format(folder=str(Path(__file__).parent))
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    try:
        assert len(workers) == 2
        assert all(map(alive, workers))
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 30
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(map(alive, workers))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        for pid in filter(alive, workers):
            os.kill(pid, signal.SIGKILL)
