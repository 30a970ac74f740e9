"""Which samples make up which step: the order of an epoch, cut into batches, ranks, micro-batches.

Everything is a pure function of (seed, epoch). A *global* batch is the same whatever the number
of ranks and the micro-batch size; a rank takes every ``world``-th of its rows. So a run can
resume at any step, also with another number of processes, and see the same global batches.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.data import philox

Rows = NDArray[np.int64]
MEGA_BATCH = 50  # length-grouped: global batches within which samples are sorted by length


class MicroBatch(NamedTuple):
    """What one process loads for one forward pass."""

    epoch: int  # from 0
    rows: Rows  # rows within the split, [b]
    weights: NDArray[np.float32]  # 1 for a sample that counts, 0 for a filler, [b]


class Step(NamedTuple):
    """One rank's part of an optimizer step."""

    samples: int  # of the step over all ranks: the denominator of its losses
    micro_batches: list[MicroBatch]


def shuffled(size: int, *, key: int, epoch: int) -> Rows:
    """A uniformly random order of ``range(size)``: the items sorted by one draw each."""
    draws_N2 = philox.words(
        key=key, samples=np.arange(size, dtype=np.uint64), epoch=epoch, length=2
    )
    lots = draws_N2[:, 0].astype(np.uint64) << np.uint64(32) | draws_N2[:, 1]
    return np.argsort(lots, kind="stable").astype(np.int64)


class SamplingPlan:
    """The training steps of every epoch.

    Args:
        size: samples in the split, at least 1.
        batch_size: samples per optimizer step over all ranks; the epoch's last step has the rest.
        world: number of ranks.
        micro_batch: most samples per forward pass and rank; None: the rank's whole share.
        seed: seed of the order.
        lengths: length of every sample, [size]; given, global batches are built from samples of
            like length: sorted within ``MEGA_BATCH`` batches of the shuffled order, then the
            batches are shuffled. The rest that fills no batch is not grouped and comes last.
    """

    def __init__(
        self,
        *,
        size: int,
        batch_size: int,
        world: int,
        micro_batch: int | None,
        seed: int,
        lengths: Rows | None = None,
    ) -> None:
        if min(size, batch_size, world, 1 if micro_batch is None else micro_batch) < 1:
            raise ValueError("size, batch_size, world and micro_batch must be at least 1")
        if lengths is not None and len(lengths) != size:
            raise ValueError(f"{len(lengths)} lengths for {size} samples")
        self.size, self.batch_size, self.world = size, batch_size, world
        self._micro_batch = micro_batch
        self._seed = seed
        self._lengths = lengths
        self._orders: dict[int, Rows] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-self.size // self.batch_size)

    def order(self, epoch: int) -> Rows:
        """All rows in the order of one epoch, int64 [size]; step s is the s-th slice of it."""
        if epoch not in self._orders:
            key = philox.stream_key("order", self._seed)
            order = shuffled(self.size, key=key, epoch=epoch)
            if self._lengths is not None:
                order = self._grouped(order, self._lengths, epoch)
            order.setflags(write=False)
            # Two epochs are kept: around an epoch's end a loader reads ahead of the steps.
            for old in list(self._orders)[:-1]:
                del self._orders[old]
            self._orders[epoch] = order
        return self._orders[epoch]

    def _grouped(self, order: Rows, lengths: Rows, epoch: int) -> Rows:
        full = self.size // self.batch_size
        body, rest = np.split(order, [full * self.batch_size])
        span = MEGA_BATCH * self.batch_size
        for start in range(0, len(body), span):
            piece = body[start : start + span]
            body[start : start + span] = piece[np.argsort(lengths[piece], kind="stable")]
        key = philox.stream_key("order of batches", self._seed)
        batches = body.reshape(full, self.batch_size)[shuffled(full, key=key, epoch=epoch)]
        return np.concatenate([batches.ravel(), rest])

    def step_rows(self, epoch: int, step: int) -> Rows:
        """Rows of one global batch, int64 [batch_size], fewer in an epoch's last step."""
        if not 0 <= step < self.steps_per_epoch:
            raise ValueError(f"step {step} of an epoch of {self.steps_per_epoch} steps")
        return self.order(epoch)[step * self.batch_size : (step + 1) * self.batch_size]

    def step(self, epoch: int, step: int, rank: int) -> Step:
        """One rank's part of a step, cut as evenly as can be.

        Every rank gets the same number of pieces, so that collectives in the forward and
        backward passes pair up; a rank with too few samples gets a filler of weight 0.
        """
        if not 0 <= rank < self.world:
            raise ValueError(f"rank {rank} of {self.world}")
        rows = self.step_rows(epoch, step)
        largest = -(-len(rows) // self.world)
        pieces = -(-largest // (self._micro_batch or largest))
        parts = np.array_split(rows[rank :: self.world], pieces)
        return Step(len(rows), [_micro_batch(epoch, part, rows[:1]) for part in parts])

    def steps(self, rank: int, *, start: int, stop: int) -> Iterator[Step]:
        """One rank's part of the steps ``start`` to ``stop`` - 1, counted over all epochs."""
        for step in range(start, stop):
            yield self.step(*divmod(step, self.steps_per_epoch), rank)


def sequential(size: int, batch_size: int, world: int, rank: int) -> list[MicroBatch]:
    """Every row exactly once over all ranks, for scoring.

    Every rank gets the same number of pieces, as in a step.
    """
    if min(batch_size, world) < 1 or not 0 <= rank < world:
        raise ValueError(f"batch_size {batch_size}, rank {rank} of {world}")
    rows = np.arange(size, dtype=np.int64)
    mine, longest = rows[rank::world], len(rows[::world])
    parts = [mine[start : start + batch_size] for start in range(0, longest, batch_size)]
    return [_micro_batch(0, part, rows[:1]) for part in parts]


def _micro_batch(epoch: int, rows: Rows, filler: Rows) -> MicroBatch:
    """Of rows that count, or of a filler that does not."""
    weights = np.full(len(rows) or len(filler), bool(len(rows)), dtype=np.float32)
    return MicroBatch(epoch, rows if len(rows) else filler, weights)
