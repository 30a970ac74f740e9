import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lnln_dist.data import plan as plan_module
from lnln_dist.data.plan import SamplingPlan, sequential

shapes = st.tuples(
    st.integers(1, 60),  # size
    st.integers(1, 20),  # batch_size
    st.integers(1, 5),  # world
    st.none() | st.integers(1, 8),  # micro_batch
    st.integers(0, 2**63 - 1),  # seed
    st.booleans(),  # length-grouped
)


def make(shape, **changes):
    names = ("size", "batch_size", "world", "micro_batch", "seed")
    values = dict(zip(names, shape, strict=False)) | changes
    lengths = np.random.default_rng(0).integers(1, 99, values["size"]) if shape[5] else None
    return SamplingPlan(**values, lengths=lengths)


def real_rows(items):
    return [row for item in items for row in item.rows[item.weights == 1].tolist()]


@given(shapes, st.integers(0, 2**32 - 1))
def test_every_row_once_per_epoch_over_all_ranks(shape, epoch):
    plan = make(shape)
    seen = [
        row
        for step in range(plan.steps_per_epoch)
        for rank in range(plan.world)
        for row in real_rows(plan.step(epoch, step, rank).micro_batches)
    ]
    assert sorted(seen) == list(range(plan.size))
    assert sorted(plan.order(epoch).tolist()) == list(range(plan.size))
    assert plan.order(epoch).dtype == np.int64


@given(shapes, st.integers(1, 5), st.none() | st.integers(1, 8), st.integers(0, 9), st.data())
def test_global_batches_do_not_depend_on_ranks_or_micro_batches(
    shape, world, micro_batch, epoch, data
):
    a, b = make(shape), make(shape, world=world, micro_batch=micro_batch)
    # A resumed run starts anywhere: steps are asked for in another order.
    steps = data.draw(st.permutations(range(a.steps_per_epoch)))
    for step in steps:
        rows = [
            sorted(
                r
                for rank in range(p.world)
                for r in real_rows(p.step(epoch, step, rank).micro_batches)
            )
            for p in (a, b)
        ]
        assert rows[0] == rows[1] == sorted(a.step_rows(epoch, step).tolist())


@given(shapes, st.integers(0, 9))
def test_ranks_have_equally_many_pieces_and_weights_count_samples(shape, epoch):
    plan = make(shape)
    for step in range(plan.steps_per_epoch):
        steps = [plan.step(epoch, step, rank) for rank in range(plan.world)]
        of_ranks = [own.micro_batches for own in steps]
        assert len({len(items) for items in of_ranks}) == 1
        pieces = list(itertools.chain(*of_ranks))
        expected = min(plan.batch_size, plan.size - step * plan.batch_size)
        assert sum(item.weights.sum() for item in pieces) == expected
        assert {own.samples for own in steps} == {expected}
        most = shape[3] or -(-expected // plan.world)
        assert all(1 <= len(item.rows) == len(item.weights) <= most for item in pieces)
        sizes = [len(item.rows) for item in pieces if item.weights.all()]
        assert max(sizes) - min(sizes) <= 1
        assert all(item.epoch == epoch for item in pieces)


def test_steps_go_on_over_the_end_of_an_epoch():
    plan = SamplingPlan(size=7, batch_size=3, world=2, micro_batch=1, seed=1)
    found = list(plan.steps(1, start=2, stop=5))
    expected = [plan.step(*at, 1) for at in ((0, 2), (1, 0), (1, 1))]
    assert [step.samples for step in found] == [1, 3, 3]
    for one, two in zip(found, expected, strict=True):
        assert [(i.epoch, i.rows.tolist(), i.weights.tolist()) for i in one.micro_batches] == [
            (i.epoch, i.rows.tolist(), i.weights.tolist()) for i in two.micro_batches
        ]


def test_filler_has_weight_zero():
    plan = SamplingPlan(size=5, batch_size=4, world=3, micro_batch=1, seed=1)
    last = [plan.step(0, 1, rank).micro_batches for rank in range(3)]
    assert [[item.weights.tolist() for item in items] for items in last] == [[[1]], [[0]], [[0]]]
    assert all(items[0].rows.tolist() == plan.step_rows(0, 1).tolist() for items in last)


def test_epochs_and_seeds_have_their_own_order():
    orders = [
        SamplingPlan(size=50, batch_size=7, world=1, micro_batch=None, seed=seed)
        .order(epoch)
        .tolist()
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len({tuple(o) for o in orders}) == 9


def test_order_is_stable_across_versions():
    """Recorded once: a change would silently reorder the training of old runs."""
    plan = SamplingPlan(size=12, batch_size=4, world=1, micro_batch=None, seed=1111)
    assert plan.order(2).tolist() == [5, 7, 1, 6, 9, 0, 10, 3, 8, 11, 2, 4]
    grouped = SamplingPlan(
        size=12, batch_size=3, world=1, micro_batch=None, seed=1111, lengths=np.arange(12)[::-1]
    )
    assert grouped.order(2).tolist() == [5, 4, 3, 11, 10, 9, 8, 7, 6, 2, 1, 0]


def test_all_orders_are_equally_likely():
    """24,000 epochs of 4 samples; power > 0.99 if half of the orders are 6.5 % likelier."""
    epochs, alpha = 24_000, 1e-6
    assert stats.ncx2.sf(stats.chi2.isf(alpha, 23), 23, epochs * 0.065**2) > 0.99

    def p(orders):
        counts = dict.fromkeys(itertools.permutations(range(4)), 0)
        for order in orders:
            counts[order] += 1
        return stats.chisquare(list(counts.values())).pvalue

    plan = SamplingPlan(size=4, batch_size=4, world=1, micro_batch=None, seed=5)
    orders = [tuple(plan.order(epoch).tolist()) for epoch in range(epochs)]
    assert p(orders) > alpha
    # A shuffle whose last lot is a little too small is caught.
    u = np.random.default_rng(0).random((epochs, 4)) ** [1, 1, 1, 1.15]
    assert p(map(tuple, np.argsort(u).tolist())) < alpha


@given(shapes, st.integers(0, 9))
def test_orders_do_not_depend_on_what_was_asked_before(shape, epoch):
    fresh, used = make(shape), make(shape)
    for other in (epoch + 1, epoch, epoch + 2, epoch + 1):
        used.order(other)
    assert np.array_equal(fresh.order(epoch), used.order(epoch))
    assert np.array_equal(pickle.loads(pickle.dumps(used)).order(epoch), fresh.order(epoch))


def test_reading_ahead_does_not_compute_orders_again(monkeypatch):
    calls = []
    real = plan_module.shuffled
    monkeypatch.setattr(plan_module, "shuffled", lambda *a, **k: calls.append(k) or real(*a, **k))
    plan = SamplingPlan(size=9, batch_size=4, world=1, micro_batch=None, seed=1)
    for _ in range(5):
        plan.order(3)
        plan.order(4)
    assert len(calls) == 2
    plan.order(5)
    assert len(plan._orders) == 2


def test_length_grouping_pads_less_and_shuffles_batches(monkeypatch):
    monkeypatch.setattr(plan_module, "MEGA_BATCH", 5)
    lengths = np.random.default_rng(1).integers(1, 500, 1003)
    plain, grouped = (
        SamplingPlan(size=1003, batch_size=10, world=1, micro_batch=None, seed=1, lengths=x)
        for x in (None, lengths)
    )

    def padded(plan):
        batches = [plan.step_rows(0, s) for s in range(plan.steps_per_epoch)]
        return sum(lengths[b].max() * len(b) for b in batches)

    assert padded(grouped) < 1.3 * lengths.sum() < 1.7 * lengths.sum() < padded(plain)
    means = [lengths[grouped.step_rows(0, s)].mean() for s in range(100)]
    assert abs(stats.spearmanr(means, range(100)).statistic) < 0.3
    assert grouped.step(0, 100, 0).samples == 3
    assert sorted(grouped.order(0)) != grouped.order(1).tolist()


@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 6))
def test_sequential_scores_every_row_once(size, batch_size, world):
    items = [sequential(size, batch_size, world, rank) for rank in range(world)]
    assert sorted(row for of_rank in items for row in real_rows(of_rank)) == list(range(size))
    # Forward passes pair up over the ranks.
    assert len({len(of_rank) for of_rank in items}) == 1
    for item in itertools.chain(*items):
        assert 1 <= len(item.rows) <= batch_size
        assert item.weights.tolist() in ([1] * len(item.rows), [0])
    assert items[0] != [] or size == 0


def test_impossible_arguments_are_refused():
    good = {"size": 4, "batch_size": 2, "world": 2, "micro_batch": 1, "seed": 0}
    for name in ("size", "batch_size", "world", "micro_batch"):
        with pytest.raises(ValueError, match="at least 1"):
            SamplingPlan(**good | {name: 0})
    with pytest.raises(ValueError, match="3 lengths for 4 samples"):
        SamplingPlan(**good, lengths=np.arange(3))
    plan = SamplingPlan(**good)
    with pytest.raises(ValueError, match="step 2 of an epoch of 2"):
        plan.step_rows(0, 2)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        plan.step(0, 0, 2)
    with pytest.raises(ValueError, match="rank 1 of 1"):
        sequential(3, 1, 1, 1)
