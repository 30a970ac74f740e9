"""Predictions for a whole split: every sample once, in row order, on every rank."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from memory_split import PADDED, MemorySplit
from torch import nn

from lnln_dist.data.noise import CleanNoise, EvaluationNoise
from lnln_dist.errors import DataError, UserError
from lnln_dist.evaluate.predict import Predictions, decided, predict
from lnln_dist.evaluate.protocol import Protocol, distinct, noises_for
from lnln_dist.evaluate.registry import PROTOCOLS
from lnln_dist.runtime import Runtime
from lnln_dist.types import Batch, Prediction


class Split(MemorySplit):
    """With a length, as the real one."""

    def __len__(self) -> int:
        return len(self.ids)


class Aligned(Split):
    """As many frames as tokens."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lengths = dict.fromkeys(PADDED, self.lengths["text"])
        self._frames = {
            m: [np.ones((n, 2), np.float32) for n in self.lengths[m]] for m in self._frames
        }


class Echo(nn.Module):
    """Says the sample's label and its number of kept audio frames."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.seen: list[tuple[bool, bool]] = []

    def predict(self, batch: Batch) -> Prediction:
        self.batches.append(batch)
        self.seen.append((self.training, torch.is_inference_mode_enabled()))
        kept = batch.audio.keep_BT.sum(dim=1).double()
        return Prediction(batch.label_B.double(), {"completeness": kept})


class Peers:
    """Ranks as threads of this process."""

    def __init__(self, world: int) -> None:
        self.values: list[Any] = [None] * world
        self.barrier = threading.Barrier(world, timeout=20)

    def runtime(self, rank: int) -> Any:
        peers = self

        class Fake:
            world, device, is_main = len(peers.values), torch.device("cpu"), rank == 0

            def __init__(self) -> None:
                self.rank = rank

            def autocast(self) -> contextlib.AbstractContextManager[None]:
                return contextlib.nullcontext()

            def without_gradients(self) -> contextlib.AbstractContextManager[None]:
                return torch.inference_mode()

            def to_device(self, batch: Batch) -> Batch:
                return batch

            def gather_objects(self, value: object) -> list[Any]:
                peers.values[rank] = value
                peers.barrier.wait()
                return list(peers.values)

        return Fake()


def on_ranks(world: int, size: int, **choices: Any) -> tuple[list[Predictions], list[Echo]]:
    split, peers = Split(size), Peers(world)
    found: dict[int, Predictions] = {}
    models = [Echo() for _ in range(world)]

    def work(rank: int) -> None:
        found[rank] = scored(split, models[rank], peers.runtime(rank), **choices)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[rank] for rank in range(world)], models


def scored(split: Any, model: nn.Module, runtime: Any, **choices: Any) -> Predictions:
    settings: dict[str, Any] = {"padding": "batch", "batch_size": 4, "noise": CleanNoise()}
    settings |= choices
    noise = settings.pop("noise")
    (found,) = under_all(split, model, runtime, [noise], **settings)
    return found


def under_all(
    split: Any, model: nn.Module, runtime: Any, noises: list[Any], **settings: Any
) -> list[Predictions]:
    defaults = {"padding": "batch", "batch_size": 4, "padded_lengths": PADDED}
    return predict(
        model,
        split,
        noises,
        runtime=runtime,
        unk_id=100,
        pad_id=0,
        **defaults | settings,
    )


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(cpu=True)


@pytest.mark.parametrize("padding", ["batch", "corpus"])
@pytest.mark.parametrize(("world", "size"), [(1, 1), (1, 23), (2, 23), (3, 8), (3, 2)])
def test_every_sample_once_in_row_order_on_every_rank(world: int, size: int, padding: str) -> None:
    results, models = on_ranks(world, size, padding=padding)
    split = Split(size)
    for found in results:
        completeness = found.extras["completeness"]
        assert found.sentiment.dtype == completeness.dtype == np.float32
        assert found.sentiment.tolist() == split.labels.tolist()
        assert completeness.tolist() == split.lengths["audio"].tolist()
    assert sum(int(b.weight_B.sum()) for m in models for b in m.batches) == size
    assert len({len(m.batches) for m in models}) == 1


def test_ranks_do_not_change_the_noise() -> None:
    noise = EvaluationNoise(rates=dict.fromkeys(PADDED, 0.5), seed=3, ids=Split(23).ids)
    alone = on_ranks(1, 23, noise=noise, batch_size=23)[0][0].extras["completeness"]
    shared = on_ranks(3, 23, noise=noise, batch_size=2)[0][0].extras["completeness"]
    assert (alone == shared).all()
    assert (alone < Split(23).lengths["audio"]).any()


def test_batches_are_of_like_length_only_where_padding_follows_them(runtime: Runtime) -> None:
    split = Split(23)
    grouped, corpus = Echo(), Echo()
    scored(split, grouped, runtime)
    scored(split, corpus, runtime, padding="corpus")
    assert torch.cat([b.row_B for b in corpus.batches]).tolist() == list(range(23))
    total = sum(split.lengths[m] for m in PADDED)
    order = torch.cat([b.row_B for b in grouped.batches]).tolist()
    assert (np.diff(total[order]) >= 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_evaluates_and_gets_its_mode_back(runtime: Runtime, training: bool) -> None:
    model = Echo().train(training)
    scored(Split(5), model, runtime)
    assert set(model.seen) == {(False, True)}
    assert model.training is training


def test_the_mode_comes_back_after_an_error(runtime: Runtime) -> None:
    class Broken(Echo):
        def predict(self, batch: Batch) -> Prediction:
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        scored(Split(5), model, runtime)
    assert model.training


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_loader_processes_change_nothing(runtime: Runtime) -> None:
    split = Split(9)
    noises = conditions(split)
    here, there = (under_all(split, Echo(), runtime, noises, workers=n) for n in (0, 2))
    for one, two in zip(here, there, strict=True):
        assert (one.sentiment == two.sentiment).all()
        assert (one.extras["completeness"] == two.extras["completeness"]).all()


def conditions(split: Any) -> list[Any]:
    at = (CleanNoise(), 0.3, 0.9)
    return [
        x if x is at[0] else EvaluationNoise(rates=dict.fromkeys(PADDED, x), seed=3, ids=split.ids)
        for x in at
    ]


@pytest.mark.parametrize("padding", ["batch", "corpus"])
def test_many_conditions_are_what_each_is_alone(runtime: Runtime, padding: str) -> None:
    split = Split(23)
    noises = conditions(split)
    together, model = [], Echo()
    together = under_all(split, model, runtime, noises, padding=padding)
    for noise, found in zip(noises, together, strict=True):
        alone = scored(split, Echo(), runtime, noise=noise, padding=padding)
        assert (found.sentiment == alone.sentiment).all()
        assert (found.extras["completeness"] == alone.extras["completeness"]).all()
    kept = [found.extras["completeness"].sum() for found in together]
    assert kept[0] > kept[1] > kept[2]
    # One pass each, and never more than a batch of samples in it.
    assert len(model.batches) == 3 * 6
    assert max(len(batch.row_B) for batch in model.batches) == 4


class Places(Echo):
    """Tells which places it was given, not just how many."""

    def predict(self, batch: Batch) -> Prediction:
        extras = {}
        for m, own in zip(PADDED, (batch.text, batch.audio, batch.vision), strict=True):
            place_T = torch.arange(1, own.keep_BT.shape[1] + 1)
            extras[m] = (own.keep_BT * place_T**3).sum(1)
        return Prediction(batch.label_B, extras)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_no_protocol_depends_on_batches_padding_or_ranks(
    protocol: Protocol, runtime: Runtime
) -> None:
    split: Any = Split(23)
    padded = PADDED
    if protocol.name in ("cider-tmfm", "cider-stmfm"):
        split = Aligned(23, padded := dict.fromkeys(PADDED, 12))
    cells = distinct(protocol.cells())
    noises = noises_for(cells, protocol.generator, split, padded)
    settings = {"padded_lengths": padded}
    one = under_all(split, Places(), runtime, noises, batch_size=5, **settings)
    wide = under_all(split, Places(), runtime, noises, batch_size=64, padding="corpus", **settings)
    peers = Peers(2)
    with ThreadPoolExecutor(2) as pool:
        ranks = [
            pool.submit(
                under_all, split, Places(), peers.runtime(rank), noises, batch_size=3, **settings
            )
            for rank in range(2)
        ]
    for found in (wide, *(rank.result() for rank in ranks)):
        for a, b in zip(one, found, strict=True):
            for m in PADDED:
                assert (a.extras[m] == b.extras[m]).all()
                assert (a.erased[m] == b.erased[m]).all()
    for cell, a in zip(cells, one, strict=True):
        for m in PADDED:
            assert (a.erased[m].sum() > 0) == (cell.rates[m] > 0 or bool(cell.erasure.burst))


def test_a_wrapped_model_predicts_through_its_own_forward(runtime: Runtime) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Echo()

        def forward(self, batch: Batch, verb: str) -> Prediction:
            assert verb == "predict"
            assert not self.inner.training
            return self.inner.predict(batch)

    wrapped = Wrapper()
    (found,) = under_all(
        Split(9), wrapped, runtime, [CleanNoise()], forward=lambda batch: wrapped(batch, "predict")
    )
    assert found.sentiment.tolist() == Split(9).labels.tolist()


def test_every_sample_is_read_once_for_all_conditions(runtime: Runtime) -> None:
    class Counting(Split):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            self.read: list[tuple[str, int]] = []

        def frames(self, modality: str, row: int) -> Any:
            self.read.append((modality, row))
            return super().frames(modality, row)

        def tokens(self, row: int) -> Any:
            self.read.append(("text", row))
            return super().tokens(row)

    split = Counting(9)
    under_all(split, Echo(), runtime, conditions(split))
    assert sorted(split.read) == sorted((m, row) for m in PADDED for row in range(9))


def test_the_share_that_is_done_is_told_on_all_ranks_alike(runtime: Runtime) -> None:
    told: list[float] = []
    under_all(Split(9), Echo(), runtime, conditions(Split(9)), before_pass=told.append)
    assert told == pytest.approx([n / 9 for n in range(9)])

    def enough(share: float) -> None:
        if share > 0.5:
            raise KeyError("enough")

    model = Echo()
    with pytest.raises(KeyError, match="enough"):
        under_all(Split(9), model, runtime, conditions(Split(9)), before_pass=enough)
    assert len(model.batches) == 5
    on_all: list[float] = []
    on_ranks(3, 7, batch_size=2, before_pass=on_all.append)
    assert sorted(on_all) == [0, 0, 0, 0.5, 0.5, 0.5]


class Gathers:
    """A runtime whose peers answer wrongly."""

    rank, world, is_main, device = 0, 2, True, torch.device("cpu")

    def __init__(self, gather: Any) -> None:
        self.gather_objects = gather

    autocast = without_gradients = staticmethod(contextlib.nullcontext)
    to_device = staticmethod(lambda batch: batch)


@pytest.mark.parametrize(
    ("gather", "match"),
    [
        (lambda value: [value], "5 samples of a split of 9 .4 missing, 0 more"),
        (lambda value: [value, value], "10 samples of a split of 9 .4 missing, 5 more"),
        (lambda value: [value, [value[0]._replace(rows=np.array([9]))]], "6 samples"),
    ],
)
def test_wrong_coverage_is_refused(gather: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        scored(Split(9), Echo(), Gathers(gather))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}])
def test_impossible_sizes(runtime: Runtime, wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong)).replace("_", "-")):
        scored(Split(6), Echo(), runtime, **wrong)


def test_fillers_do_not_count(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    from lnln_dist.evaluate import predict as module

    def with_filler(*args: Any) -> list[Any]:
        items = sequential(*args)
        rows = np.append(items[0].rows, 0)
        weights = np.append(items[0].weights, 0).astype(np.float32)
        return [items[0]._replace(rows=rows, weights=weights), *items[1:]]

    sequential = module.sequential
    monkeypatch.setattr(module, "sequential", with_filler)
    found = scored(Split(6), Echo(), runtime)
    assert found.sentiment.tolist() == Split(6).labels.tolist()


def test_probabilities_stay_with_their_sample_and_are_decided_on(runtime: Runtime) -> None:
    split = Split()

    class Sure(nn.Module):
        def predict(self, batch: Batch) -> Prediction:
            share_B = (batch.row_B + 1) / 100
            probability_BC = torch.stack([share_B, share_B / 2, 1 - 1.5 * share_B], dim=1)
            return Prediction(probability_BC, {"energy": batch.label_B})

    (found,) = predict(
        Sure(), split, [CleanNoise()], runtime=runtime, padding="batch", padded_lengths=PADDED,
        unk_id=1, pad_id=0, batch_size=4,
    )  # fmt: skip
    share_N = np.arange(1, len(split) + 1) / 100
    assert found.sentiment == pytest.approx(
        np.stack([share_N, share_N / 2, 1 - 1.5 * share_N], axis=1), abs=1e-6
    )
    assert found.extras["energy"].tolist() == split.labels.tolist()
    plain = decided(found, "mosi")
    assert set(plain.sentiment.tolist()) == {1.0}
    assert list(plain.extras) == ["p_-1", "p_0", "p_1", "energy"]
    assert plain.extras["p_0"] == pytest.approx(share_N / 2, abs=1e-6)
    moved = decided(found, "mosi", [0.1, 0.1, 0.8])
    assert (moved.sentiment == np.where(share_N * 8 > 1 - 1.5 * share_N, -1, 1)).all()
    assert decided(plain, "mosi") is plain


def test_lost_samples_are_counted_once() -> None:
    probability = np.array([[np.nan, np.nan], [0.2, 0.8]], np.float32)
    assert Predictions(probability, {}, {}).lost == 1
    assert Predictions(np.array([np.inf, 1.0, np.nan], np.float32), {}, {}).lost == 2


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_gaps_of_the_data_are_never_counted_as_erased(runtime: Runtime, rate: float) -> None:
    split = Split()
    chance = np.random.default_rng(0)
    split.gaps["audio"] = [chance.random(n) < 0.5 for n in split.lengths["audio"]]
    noise = EvaluationNoise(rates=dict.fromkeys(PADDED, rate), seed=1, ids=split.ids)
    found = scored(split, Echo(), runtime, noise=noise)
    gaps = np.array([gap.sum() for gap in split.gaps["audio"]])
    kept = found.extras["completeness"]
    np.testing.assert_array_equal(kept + found.erased["audio"] + gaps, split.lengths["audio"])
    whole = scored(Split(), Echo(), runtime, noise=noise)
    np.testing.assert_array_equal(found.erased["vision"], whole.erased["vision"])
    assert (found.erased["audio"] <= whole.erased["audio"]).all()
    assert rate == 0.4 or (found.erased["audio"] == rate * (split.lengths["audio"] - gaps)).all()
