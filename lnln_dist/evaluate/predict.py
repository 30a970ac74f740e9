"""Predictions for a whole split under many noise conditions, every sample once over the ranks.


A batch is loaded and padded once and put under every condition from there: one forward pass of
``batch_size`` samples per condition, so that memory holds no more than one pass needs.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lnln_dist.classes import Family, class_values, decide
from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.loader import Collator, Draws, Erased, Loader, under
from lnln_dist.data.noise import CleanNoise, Noise
from lnln_dist.data.plan import MicroBatch, sequential
from lnln_dist.data.schema import FrameModality, Scale
from lnln_dist.data.shards import Split
from lnln_dist.errors import DataError, UserError
from lnln_dist.evaluate.remember import remembering
from lnln_dist.runtime import Runtime
from lnln_dist.types import Batch, Network, Prediction, there

PREFETCH = 2  # batches, with the noise of all conditions, that a loader process keeps ready


class Predictions(NamedTuple):
    """One split's outputs under one condition in row order, the same on every rank."""

    sentiment: NDArray[np.float32]  # [n], in the label's unit; or class probabilities, [n, C]
    extras: dict[str, NDArray[np.float32]]  # [n] each, what the model tells beside it
    erased: dict[Modality, NDArray[np.int64]]  # [n] each, places there that the noise has taken

    @property
    def lost(self) -> int:
        """Samples whose sentiment is not finite."""
        finite = np.isfinite(self.sentiment).reshape(len(self.sentiment), -1).all(axis=1)
        return int(np.count_nonzero(~finite))


class _Part(NamedTuple):
    """Outputs of a rank for some rows."""

    rows: NDArray[np.int64]  # [b]
    names: tuple[str, ...]  # of the extras
    values_COB: NDArray[np.float32]  # conditions, outputs (extras, then sentiment), rows
    erased_CMB: NDArray[np.int64]  # conditions, modalities, rows


def predict(
    model: nn.Module,
    split: Split,
    noises: Sequence[Noise],
    *,
    runtime: Runtime,
    padding: Literal["batch", "corpus"],
    padded_lengths: Mapping[Modality, int],
    unk_id: int,
    pad_id: int,
    batch_size: int,
    workers: int = 0,
    normalised: Mapping[FrameModality, Scale] | None = None,
    forward: Callable[[Batch], Prediction] | None = None,
    remember: bool = True,
    before_pass: Callable[[float], object] = lambda _: None,
) -> list[Predictions]:
    """Runs the model over a split, once per condition; call it on all ranks.

    All ranks make the same number of forward passes, so the model may be one whose passes wait
    for one another; its training mode is put back afterwards.

    Args:
        model: the network, on the device of this rank.
        split: the samples.
        noises: the conditions: which places are erased.
        runtime: of this rank.
        padding: to the longest sample of a batch, or to ``padded_lengths``.
        padded_lengths: places per modality for padding ``corpus``.
        unk_id: token id that stands in for erased tokens.
        pad_id: token id of padding.
        batch_size: samples per forward pass and rank.
        workers: loader processes per rank.
        normalised: as ``Collator``.
        forward: predicts a batch; None is the network's own ``predict``, which a model behind
            wrappers does not have.
        remember: do not encode a text again that noise has left as it was; not where the encoder
            is spread over the ranks, since they would call it unequally often.
        before_pass: told before every forward pass, on all ranks alike, which share of them is
            done; what it raises ends the work.

    Raises:
        DataError: a sample was scored twice or not at all.
        UserError: ``batch_size`` or ``workers`` is impossible.
    """
    check_sizes(batch_size, workers)
    items = _batches(split, runtime, batch_size=batch_size, grouped=padding == "batch")
    collator = Collator(
        split,
        CleanNoise(),
        padding=padding,
        padded_lengths=padded_lengths,
        unk_id=unk_id,
        pad_id=pad_id,
        normalised=normalised,
    )
    loader: Loader[MicroBatch, tuple[Batch, Draws]] = Loader(
        _UnderAll(collator, noises),
        items,
        workers=min(workers, len(items)),
        prefetch=PREFETCH,
        pin_memory=runtime.device.type == "cuda",
    )
    forward = forward or cast(Network, model).predict
    found: list[_Part] = []
    with _evaluating(model), runtime.without_gradients():
        for loaded in loader:
            batch, draws = runtime.to_device(loaded)
            outputs: list[Prediction] = []
            with remembering(model) if remember else contextlib.nullcontext():
                for condition in _each(draws, len(noises)):
                    before_pass((len(found) + len(outputs) / len(noises)) / len(items))
                    with runtime.autocast():
                        outputs.append(forward(under(batch, condition, unk_id=unk_id)))
            found.append(_part(batch, outputs, draws))
    parts = [part for of_rank in runtime.gather_objects(found) for part in of_rank]
    return _in_row_order(parts, len(split))


@dataclass(frozen=True)
class _UnderAll:
    """Loads a batch once, whole, with what each condition spares of it."""

    collator: Collator
    noises: Sequence[Noise]

    def __call__(self, item: MicroBatch) -> tuple[Batch, Draws]:
        """The masks and rates of all conditions are stacked, in front of a batch's shapes."""
        of_each = [self.collator.draws(item, noise) for noise in self.noises]
        stacked: dict[Modality, Erased] = {
            m: Erased(*map(torch.stack, zip(*(draws[m] for draws in of_each), strict=True)))
            for m in MODALITIES
        }
        return self.collator.whole(item), stacked


def _each(stacked: Draws, count: int) -> Iterator[Draws]:
    for number in range(count):
        yield {m: Erased(*(tensor[number] for tensor in stacked[m])) for m in MODALITIES}


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _part(batch: Batch, outputs: Sequence[Prediction], draws: Draws) -> _Part:
    """Brings a batch's outputs to the host at once, without those that only fill it up."""
    values_COB = torch.stack(
        [
            torch.stack([*own.extras.values(), *_per_output(own.sentiment)]).float()
            for own in outputs
        ]
    )
    # What was never there is not erased, whatever the noise says of it.
    erased_CMB = torch.stack(
        [(there(getattr(batch, m)) & ~draws[m].keep_BT).sum(-1) for m in MODALITIES], dim=1
    )
    counts = (batch.weight_B > 0).cpu().numpy()
    return _Part(
        batch.row_B.cpu().numpy()[counts],
        tuple(outputs[0].extras),
        values_COB.cpu().numpy()[:, :, counts],
        erased_CMB.cpu().numpy()[:, :, counts],
    )


def _per_output(sentiment: Tensor) -> tuple[Tensor, ...]:
    return sentiment.unbind(1) if sentiment.ndim == 2 else (sentiment,)


def decided(
    found: Predictions, family: Family, threshold_C: Sequence[float] | None = None
) -> Predictions:
    """Class probabilities as the value of the class decided on; numbers as they are.

    Args:
        found: as ``predict`` gave them.
        family: whose classes.
        threshold_C: as ``classes.decide`` takes them.

    Returns:
        The sentiment [n] in the label's unit, and among the extras the probability of each class,
        ``p_`` and the class's value.
    """
    probability_NC = found.sentiment
    if probability_NC.ndim == 1:
        return found
    value_C = class_values(family, probability_NC.shape[1])
    told = {f"p_{value:g}": probability_NC[:, c] for c, value in enumerate(value_C)}
    sentiment = value_C[decide(probability_NC, threshold_C)]
    return found._replace(sentiment=sentiment, extras={**told, **found.extras})


def check_sizes(batch_size: int, workers: int) -> None:
    """Refuses impossible sizes.

    Raises:
        UserError: ``--batch-size`` or ``--workers`` is impossible.
    """
    if batch_size < 1 or workers < 0:
        raise UserError(
            f"--batch-size {batch_size}, --workers {workers}: a batch has at least 1 sample, the "
            "loader 0 processes or more"
        )


def _batches(split: Split, runtime: Runtime, *, batch_size: int, grouped: bool) -> list[MicroBatch]:
    """Batches of the own rank; grouped ones hold samples of like length (less padding)."""
    items = sequential(len(split), batch_size, runtime.world, runtime.rank)
    if not grouped:
        return items
    size = np.sum([split.lengths[m] for m in MODALITIES], axis=0)
    by_length = np.argsort(size, kind="stable")
    return [item._replace(rows=by_length[item.rows]) for item in items]


def _in_row_order(parts: Iterable[_Part], size: int) -> list[Predictions]:
    """Puts results back by their row.

    Raises:
        DataError: the rows are not each of 0..size-1 once.
    """
    parts = list(parts)
    rows = np.concatenate([part.rows for part in parts]) if parts else np.empty(0, np.int64)
    counts = np.bincount(rows, minlength=size)
    if len(counts) != size or (counts != 1).any():
        missing, again = int((counts == 0).sum()), int((counts > 1).sum())
        raise DataError(
            f"scored {len(rows)} samples of a split of {size} ({missing} missing, {again} more "
            "than once): start all processes on the same prepared data"
        )
    values_CON = np.concatenate([part.values_COB for part in parts], axis=-1)
    values_CON[:, :, rows] = values_CON.copy()
    erased_CMN = np.concatenate([part.erased_CMB for part in parts], axis=-1)
    erased_CMN[:, :, rows] = erased_CMN.copy()
    names = parts[0].names
    return [
        Predictions(
            sentiment[0] if len(sentiment) == 1 else np.ascontiguousarray(sentiment.T),
            dict(zip(names, extras, strict=True)),
            dict(zip(MODALITIES, erased_MN, strict=True)),
        )
        for (extras, sentiment), erased_MN in zip(
            ((one[: len(names)], one[len(names) :]) for one in values_CON), erased_CMN, strict=True
        )
    ]
