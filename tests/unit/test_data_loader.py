import itertools
import os
import pickle
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from memory_split import PAD, PADDED, SIZE, UNK, MemorySplit, collator, equal, micro

from lnln_dist.classes import targets
from lnln_dist.config import MODALITIES, NoiseConfig
from lnln_dist.data.convert import prepare
from lnln_dist.data.loader import Collator, Loader, Standardiser, under
from lnln_dist.data.noise import CleanNoise, EvaluationNoise, TrainingNoise
from lnln_dist.data.plan import SamplingPlan, sequential
from lnln_dist.data.schema import SPLITS, Scale
from lnln_dist.data.shards import open_dataset
from lnln_dist.errors import DataError
from lnln_dist.types import Batch

# torch advises against more workers than cores, which is what is asked for here.
many_workers = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


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


def test_classes_come_with_their_samples():
    split = MemorySplit()
    known = targets(split.labels, "mosi", 3, balanced=True)
    made = Collator(
        split, CleanNoise(), padding="batch", padded_lengths=PADDED, unk_id=3, pad_id=0,
        targets=known,
    )(micro([5, 0, 17]))  # fmt: skip
    assert made.target.class_B.tolist() == known.class_N[[5, 0, 17]].tolist()
    assert made.target.weight_B.tolist() == known.weight_N[[5, 0, 17]].tolist()
    assert made.target.class_B.dtype == torch.int64
    assert len(set(known.weight_N.tolist())) > 1
    assert collator()(micro([5])).target is None


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


def with_gaps(size=SIZE):
    """A split whose texts and vision lack places; those of row 0 wholly, of text but the ends."""
    split = MemorySplit(size)
    chance = np.random.default_rng(1)
    for m in ("text", "vision"):
        split.gaps[m] = [chance.random(n) < 0.4 for n in split.lengths[m]]
        split.gaps[m][0][:] = True
    for gap in split.gaps["text"]:
        gap[[0, -1]] = False
    return split


def whole_epoch(*, world=1, micro_batch=None, padding="batch", epoch=2, batch_size=8, split=None):
    """Valid tokens, frames, masks and rates of every sample, whatever it was loaded with."""
    plan = SamplingPlan(
        size=SIZE, batch_size=batch_size, world=world, micro_batch=micro_batch, seed=3
    )
    make = collator(padding=padding, split=split)
    found = {}
    for step, rank in itertools.product(range(plan.steps_per_epoch), range(world)):
        for item in plan.step(epoch, step, rank).micro_batches:
            batch = make(item)
            for i, row in enumerate(batch.row_B.tolist()):
                if not batch.weight_B[i]:
                    continue
                assert row not in found
                found[row] = [batch.label_B[i]]
                for part in (batch.text, batch.audio, batch.vision):
                    valid = part.valid_BT[i]
                    places = [t for t in part if t is not None and t.ndim > 1]
                    found[row] += [t[i][valid] for t in places] + [part.rate_B[i]]
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
@pytest.mark.parametrize("split", [None, with_gaps()])
def test_same_samples_and_masks_for_any_ranks_and_batches(other, split):
    one, two = whole_epoch(split=split), whole_epoch(**other, split=split)
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
    plan = SamplingPlan(size=SIZE, batch_size=6, world=1, micro_batch=2, seed=3)
    items = [i for s in range(plan.steps_per_epoch) for i in plan.step(1, s, 0).micro_batches]
    alone = list(Loader(collator(), items))
    loader = Loader(collator(), items, workers=workers, prefetch=2)
    assert len(loader) == len(items)
    for _ in range(2):  # the second time with the same processes
        several = list(loader)
        assert len(several) == len(items) == len(alone)
        assert all(isinstance(b, Batch) for b in several)
        assert all(equal(a, b) for a, b in zip(alone, several, strict=True))


@many_workers
@pytest.mark.parametrize("workers", [0, 2])
def test_a_step_comes_whole_with_its_count_over_all_ranks(workers):
    plan = SamplingPlan(size=SIZE, batch_size=6, world=2, micro_batch=2, seed=3)
    steps = list(plan.steps(1, start=2, stop=6))
    make = collator()
    found = list(Loader(make.step, steps, workers=workers))
    assert [step.samples for step in found] == [6, 5, 6, 6]
    for planned, loaded in zip(steps, found, strict=True):
        alone = [make(item) for item in planned.micro_batches]
        assert all(equal(a, b) for a, b in zip(alone, loaded.batches, strict=True))


def test_one_reading_serves_every_noise():
    split, item = MemorySplit(), micro([3, 1, 4], weights=[1, 1, 0])
    make = collator(CleanNoise(), split=split)
    whole = make.whole(item)
    assert equal(whole, make(item))
    for seed in (1, 2):
        noise = TrainingNoise(NoiseConfig(clean_share=0.0), seed=seed, ids=split.ids)
        found = under(whole, make.draws(item, noise), unk_id=UNK)
        assert equal(found, collator(noise, split=split)(item))
        assert found.audio.frames_BTD is whole.audio.frames_BTD
        # Noise replaces noise: nothing of an earlier one is left.
        assert equal(under(found, make.draws(item, CleanNoise()), unk_id=UNK), whole)


def test_resuming_is_starting_elsewhere():
    class Rest:
        start = 0

        def __iter__(self):
            return iter(sequential(SIZE, 4, 1, 0)[self.start :])

    items = Rest()
    loader = Loader(collator(), items, workers=1)
    whole = list(loader)
    items.start = 3
    rest = list(loader)
    assert len(rest) == len(whole) - 3
    assert all(equal(a, b) for a, b in zip(whole[3:], rest, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_random_state_alone(workers):
    """Torch would take a number from the global generator, and dropout would change on resume."""
    before = torch.get_rng_state()
    list(Loader(collator(), sequential(SIZE, 4, 1, 0), workers=workers))
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
    loader = Loader(collator(Failing(_damaged)), items, workers=workers)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    with pytest.raises(DataError, match=r"^shard 3 is damaged: run lnln-dist verify$"):
        next(batches)
    loader = Loader(collator(Failing(_defect)), items, workers=workers)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        list(loader)


def test_a_killed_worker_is_one_line():
    loader = Loader(collator(Failing(_die)), sequential(SIZE, 4, 1, 0), workers=1)
    with pytest.raises(DataError, match="a loader process died") as info:
        list(loader)
    assert "data.workers: 0" in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset by peer"), EOFError()])
def test_a_process_that_is_missed_where_its_tensors_are_fetched_has_died(monkeypatch, error):
    def gone(_):
        raise error

    monkeypatch.setattr("lnln_dist.data.loader.UNTIL_TOLD_S", 0.0)
    loader = Loader(collator(), sequential(SIZE, 4, 1, 0), workers=1)
    monkeypatch.setattr(type(loader._loader), "__iter__", gone)
    with pytest.raises(DataError, match="a loader process died"):
        list(loader)
    loader = Loader(collator(), sequential(SIZE, 4, 1, 0))
    with pytest.raises(type(error)):  # there is none
        list(loader)


def _lose_connection():
    raise ConnectionResetError(104, "of a store of somebody else's")


def test_a_connection_that_a_live_worker_loses_is_its_own():
    loader = Loader(collator(Failing(_lose_connection)), sequential(SIZE, 4, 1, 0), workers=1)
    with pytest.raises(ConnectionError, match="somebody else's"):
        list(loader)


def test_the_signal_of_an_end_that_was_seen_already_reaches_nobody_else(monkeypatch):
    def gone(_):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        raise ConnectionResetError(104, "reset by peer")

    def tell(number, frame):  # as torch's handler does, wherever it finds the process
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Bus error. ")

    loader = Loader(collator(), sequential(SIZE, 4, 1, 0), workers=1)
    monkeypatch.setattr(type(loader._loader), "__iter__", gone)
    previous = signal.signal(signal.SIGALRM, tell)
    try:
        with pytest.raises(DataError, match=r"a loader process died .*Bus error"):
            list(loader)
        time.sleep(0.1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_prepared_shards_give_the_samples_of_the_feature_file(tmp_path):
    """A padded MMSA pickle in, ``prepare``, batches out: nothing lost, nothing moved."""
    memory = MemorySplit()
    text = np.zeros((SIZE, 3, PADDED["text"]))
    padded = {
        m: np.zeros((SIZE, PADDED[m], memory.frames(m, 0).shape[1])) for m in ("audio", "vision")
    }
    for row in range(SIZE):
        n = memory.lengths["text"][row]
        text[row, :, :n] = memory.tokens(row), np.ones(n), memory.segments(row)
        for m, array in padded.items():
            array[row, : memory.lengths[m][row]] = memory.frames(m, row)
    raw = {
        "raw_text": ["some words"] * SIZE,
        "id": memory.ids,
        "text_bert": text,
        "regression_labels": memory.labels,
        **padded,
        **{f"{m}_lengths": memory.lengths[m].tolist() for m in padded},
    }
    (tmp_path / "source.pkl").write_bytes(pickle.dumps({name: dict(raw) for name in SPLITS}))
    prepare(tmp_path / "source.pkl", tmp_path / "data", dataset="mosi", shard_mb=0.001)
    split = open_dataset(tmp_path / "data").split("train")
    assert len(split) == SIZE
    items = sequential(SIZE, 5, 1, 0)
    expected = list(Loader(collator(split=memory), items))
    for workers in (0, 1):
        found = list(Loader(collator(split=split), items, workers=workers))
        assert all(equal(a, b) for a, b in zip(expected, found, strict=True))


@given(st.integers(0, 2**16), st.floats(0, 1), st.sampled_from(["random", "block"]))
def test_a_place_is_kept_where_it_was_there_and_the_noise_spares_it(seed, rate, pattern):
    split, whole = with_gaps(), MemorySplit()
    rates = dict.fromkeys(MODALITIES, rate)
    noise = EvaluationNoise(rates=rates, seed=seed, ids=split.ids, pattern=pattern)
    item = micro([0, 3, 8])
    found, without = collator(noise, split=split)(item), collator(noise, split=whole)(item)
    for m in MODALITIES:
        own, other = getattr(found, m), getattr(without, m)
        if m == "audio":
            assert own.seen_BT is None
            assert torch.equal(own.keep_BT, other.keep_BT)
            continue
        for i, row in enumerate(item.rows):
            n = split.lengths[m][row]
            assert own.seen_BT[i, :n].tolist() == (~split.gaps[m][row]).tolist()
            assert not own.seen_BT[i, n:].any()
        # The noise itself does not change, so that masks stay nested.
        assert torch.equal(own.keep_BT, other.keep_BT & own.seen_BT)
        assert torch.equal(own.rate_B, other.rate_B)
    lost_BT = found.text.valid_BT & ~found.text.seen_BT
    assert (found.text.noisy_ids_BT[lost_BT] == UNK).all()
    assert not found.vision.noisy()[~found.vision.seen_BT].any()


def test_a_batch_with_nothing_erased_keeps_what_was_there():
    batch = collator(split=with_gaps()).whole(micro([0, 1]))
    assert torch.equal(batch.text.keep_BT, batch.text.seen_BT)
    assert torch.equal(batch.vision.keep_BT, batch.vision.seen_BT)
    assert torch.equal(batch.audio.keep_BT, batch.audio.valid_BT)


def test_frames_are_normalised_and_what_is_missing_stays_zero():
    frames_TD = np.array([[3, 5, 7], [0, 0, 0], [1, 5, 8]], np.float32)
    mean, sd = (2.0, 5.0, 8.0), (0.5, 1e-8, 2.0)  # the second is a constant, but for rounding
    scale = Scale(largest=(3.0, 5.0, 8.0), zero_frames={}, mean=mean, sd=sd)
    found_TD = Standardiser(scale)(frames_TD)
    assert found_TD.dtype == np.float32
    assert found_TD.tolist() == [[2.0, 0.0, -0.5], [0.0] * 3, [-2.0, 0.0, 0.0]]


def test_a_batch_holds_normalised_frames_of_the_modalities_told():
    split = MemorySplit()
    scale = Scale(largest=(1.0,) * 5, zero_frames={}, mean=(0.5,) * 5, sd=(2.0,) * 5)
    choices = {"padding": "batch", "padded_lengths": PADDED, "unk_id": UNK, "pad_id": PAD}
    make = Collator(split, CleanNoise(), **choices, normalised={"audio": scale})
    plain, found = collator(CleanNoise())(micro([3, 7])), make(micro([3, 7]))
    valid_BT1 = plain.audio.valid_BT[..., None]
    expected = (plain.audio.frames_BTD - 0.5) / 2 * valid_BT1
    torch.testing.assert_close(found.audio.frames_BTD, expected)
    assert torch.equal(found.vision.frames_BTD, plain.vision.frames_BTD)
