"""Predictions for a whole split under given noise, every sample exactly once over the ranks."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.loader import Collator, Loader
from lnln_dist.data.noise import Noise
from lnln_dist.data.plan import MicroBatch, sequential
from lnln_dist.data.shards import Split
from lnln_dist.errors import DataError, UserError
from lnln_dist.runtime import Runtime
from lnln_dist.types import Batch

PREFETCH = 4  # micro-batches a loader process keeps ready

# Rows of a split, their predictions and completeness.
_Part = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]


class Predictions(NamedTuple):
    """One split's outputs in row order, the same on every rank."""

    prediction: NDArray[np.float32]  # [n], in the label's unit
    completeness: NDArray[np.float32]  # [n], predicted share of text that is there, in (0, 1)


def predict(
    model: nn.Module,
    split: Split,
    noise: Noise,
    *,
    runtime: Runtime,
    padding: Literal["batch", "corpus"],
    padded_lengths: Mapping[Modality, int],
    unk_id: int,
    pad_id: int,
    batch_size: int,
    workers: int = 0,
) -> Predictions:
    """Runs the model once over a split; call it on all ranks.

    Args:
        model: not wrapped by DDP (the ranks run different numbers of batches); its training mode
            is put back afterwards.
        split: the samples.
        noise: which places are erased.
        padding: to the longest sample of a batch, or to ``padded_lengths``.
        padded_lengths: places per modality for padding ``corpus``.
        unk_id: token id that stands in for erased tokens.
        pad_id: token id of padding.
        batch_size: samples per forward pass and rank.
        workers: loader processes per rank.

    Raises:
        DataError: a sample was scored twice or not at all.
        UserError: ``batch_size`` or ``workers`` is impossible.
    """
    if batch_size < 1 or workers < 0:
        raise UserError(
            f"--batch-size {batch_size}, --workers {workers}: a batch has at least 1 sample, the "
            "loader 0 processes or more"
        )
    items = _batches(split, runtime, batch_size=batch_size, grouped=padding == "batch")
    collator = Collator(
        split,
        noise,
        padding=padding,
        padded_lengths=padded_lengths,
        unk_id=unk_id,
        pad_id=pad_id,
    )
    on_gpu = runtime.device.type == "cuda"
    loader = Loader(collator, items, workers=workers, prefetch=PREFETCH, pin_memory=on_gpu)
    found = _outputs(model, loader if items else (), runtime)
    parts = [part for of_rank in runtime.gather_objects(found) for part in of_rank]
    return _in_row_order(parts, len(split))


def _outputs(model: nn.Module, batches: Iterable[Batch], runtime: Runtime) -> list[_Part]:
    """Rows and outputs of the own rank's batches, those that only fill a batch up left out."""
    training = model.training
    model.eval()
    found: list[_Part] = []
    try:
        with torch.inference_mode():
            for batch in batches:
                with runtime.autocast():
                    outputs = model(runtime.to_device(batch), complete=False)
                counts = (batch.weight_B > 0).cpu().numpy()
                columns = (outputs.sentiment_B, outputs.completeness_B)
                values = [c.float().cpu().numpy()[counts] for c in columns]
                found.append((batch.row_B.cpu().numpy()[counts], values[0], values[1]))
    finally:
        model.train(training)
    return found


def _batches(split: Split, runtime: Runtime, *, batch_size: int, grouped: bool) -> list[MicroBatch]:
    """Batches of the own rank; grouped ones hold samples of like length (less padding)."""
    items = sequential(len(split), batch_size, runtime.world, runtime.rank)
    if not grouped:
        return items
    size = np.sum([split.lengths[m] for m in MODALITIES], axis=0)
    by_length = np.argsort(size, kind="stable")
    return [item._replace(rows=by_length[item.rows]) for item in items]


def _in_row_order(parts: list[_Part], size: int) -> Predictions:
    """Puts results back by their row.

    Raises:
        DataError: the rows are not each of 0..size-1 once.
    """
    rows = np.concatenate([p[0] for p in parts]) if parts else np.empty(0, np.int64)
    counts = np.bincount(rows, minlength=size)
    if len(counts) != size or (counts != 1).any():
        missing, again = int((counts == 0).sum()), int((counts > 1).sum())
        raise DataError(
            f"scored {len(rows)} samples of a split of {size} ({missing} missing, {again} more "
            "than once): start all processes on the same prepared data"
        )
    out = np.empty((2, size), np.float32)
    for number in (1, 2):
        values = [p[number] for p in parts]
        out[number - 1, rows] = np.concatenate(values) if values else ()
    return Predictions(out[0], out[1])
