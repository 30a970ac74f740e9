"""Micro-batches from rows: noise put on while loading, padding, worker processes.

Workers need no seeds: what a micro-batch holds is decided by its rows and epoch alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import Draw, Noise, valid_places
from lnln_dist.data.plan import MicroBatch
from lnln_dist.data.workers import start_worker, terminate_held
from lnln_dist.errors import DataError, UserError
from lnln_dist.types import Batch, SequenceInput, TextInput


class Source(Protocol):
    """What the loader needs of a split (``shards.Split`` is one)."""

    @property
    def ids(self) -> Sequence[str]:
        """Sample ids in row order."""
        ...

    @property
    def labels(self) -> NDArray[np.float32]:
        """Sentiment of each row, [n]."""
        ...

    @property
    def lengths(self) -> Mapping[Modality, NDArray[np.int64]]:
        """Valid places of each row, [n] per modality."""
        ...

    def tokens(self, row: int) -> NDArray[np.integer]:
        """Token ids of one row, [L]."""
        ...

    def segments(self, row: int) -> NDArray[np.integer]:
        """Segment ids of one row, [L]."""
        ...

    def frames(self, modality: Literal["audio", "vision"], row: int) -> NDArray[np.float32]:
        """Features of one row, [L D]."""
        ...


class Collator:
    """Rows -> ``Batch``: complete frames and tokens with the masks of what survives the noise.

    Args:
        split: the samples.
        noise: the noise stream.
        padding: to the longest sample of the micro-batch, or to ``padded_lengths``.
        padded_lengths: most places per modality: the sizes of the model's positional tables.
        unk_id: token id that stands for an erased token.
        pad_id: token id of padding.

    Raises:
        DataError: a sample is longer than ``padded_lengths``.
    """

    def __init__(
        self,
        split: Source,
        noise: Noise,
        *,
        padding: Literal["batch", "corpus"],
        padded_lengths: Mapping[Modality, int],
        unk_id: int,
        pad_id: int,
    ) -> None:
        for m in MODALITIES:
            too_long = np.flatnonzero(split.lengths[m] > padded_lengths[m])
            if len(too_long):
                row = int(too_long[0])
                raise DataError(
                    f"sample {split.ids[row]!r}: {int(split.lengths[m][row])} places of {m}, but "
                    f"the model takes at most {padded_lengths[m]} ({len(too_long)} such samples); "
                    "prepare the data with shorter sequences or train a model for longer ones"
                )
        self._split, self._noise = split, noise
        self._corpus = dict(padded_lengths) if padding == "corpus" else None
        self._unk_id, self._pad_id = unk_id, pad_id

    def __call__(self, item: MicroBatch) -> Batch:
        """Loads one micro-batch."""
        split, rows = self._split, item.rows
        lengths = {m: split.lengths[m][rows] for m in MODALITIES}
        # At least one place, so that an all-empty batch still has a shape to attend over.
        width = self._corpus or {m: max(1, int(lengths[m].max())) for m in MODALITIES}
        draws = self._noise.draw(rows, item.epoch, lengths, width)
        valid = {m: valid_places(lengths[m], width[m]) for m in MODALITIES}
        return Batch(
            text=self._text(rows, draws["text"], valid["text"]),
            audio=self._sequence("audio", rows, draws["audio"], valid["audio"]),
            vision=self._sequence("vision", rows, draws["vision"], valid["vision"]),
            label_B=torch.from_numpy(split.labels[rows]),
            weight_B=torch.from_numpy(item.weights.copy()),
            row_B=torch.from_numpy(rows.copy()),
        )

    def _text(self, rows: NDArray[np.int64], draw: Draw, valid_BT: NDArray[np.bool_]) -> TextInput:
        ids_BT = np.full(valid_BT.shape, self._pad_id, dtype=np.int64)
        segments_BT = np.zeros(valid_BT.shape, dtype=np.int64)
        for i, row in enumerate(rows.tolist()):
            tokens, segments = self._split.tokens(row), self._split.segments(row)
            ids_BT[i, : len(tokens)] = tokens
            segments_BT[i, : len(segments)] = segments
        noisy_ids_BT = np.where(draw.keep_BT | ~valid_BT, ids_BT, self._unk_id)
        return TextInput(
            ids_BT=torch.from_numpy(ids_BT),
            noisy_ids_BT=torch.from_numpy(noisy_ids_BT),
            segments_BT=torch.from_numpy(segments_BT),
            valid_BT=torch.from_numpy(valid_BT),
            keep_BT=torch.from_numpy(draw.keep_BT),
            rate_B=torch.from_numpy(draw.rate_B),
        )

    def _sequence(
        self,
        modality: Literal["audio", "vision"],
        rows: NDArray[np.int64],
        draw: Draw,
        valid_BT: NDArray[np.bool_],
    ) -> SequenceInput:
        views = [self._split.frames(modality, row) for row in rows.tolist()]
        frames_BTD = np.zeros((*valid_BT.shape, views[0].shape[1]), dtype=np.float32)
        for i, view in enumerate(views):
            frames_BTD[i, : len(view)] = view
        return SequenceInput(
            frames_BTD=torch.from_numpy(frames_BTD),
            valid_BT=torch.from_numpy(valid_BT),
            keep_BT=torch.from_numpy(draw.keep_BT),
            rate_B=torch.from_numpy(draw.rate_B),
        )


class _Failure:
    """A user's error on its way out of a worker; torch would wrap it in a traceback."""

    def __init__(self, error: UserError) -> None:
        self.error = error


class _MicroBatches(Dataset["Batch | _Failure"]):
    """The collator as a map-style dataset whose index is a micro-batch."""

    def __init__(self, collator: Collator) -> None:
        self._collator = collator

    def __getitem__(self, item: MicroBatch) -> "Batch | _Failure":
        try:
            return self._collator(item)
        except UserError as err:
            return _Failure(err)


def _as_is(item: Any) -> Any:
    return item


class Loader:
    """Batches of some micro-batches in order; iterable again and again. See ``make_loader``."""

    def __init__(
        self,
        collator: Collator,
        items: Iterable[MicroBatch],
        *,
        workers: int,
        prefetch: int,
        pin_memory: bool,
    ) -> None:
        self._loader: DataLoader[Batch | _Failure] = DataLoader(
            _MicroBatches(collator),
            sampler=items,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=prefetch if workers else None,
            persistent_workers=workers > 0,
            pin_memory=pin_memory and torch.cuda.is_available(),
            collate_fn=_as_is,
            worker_init_fn=start_worker,
            # Its own generator: torch would draw from the global one at every start, and a
            # resumed run's dropout would differ from an uninterrupted one's.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[Batch]:
        """Loads from where ``items`` starts now.

        Raises:
            UserError: the loader's own, also when it happened in a worker.
            DataError: a worker process died.
        """
        try:
            with terminate_held():
                batches = iter(self._loader)
            for item in batches:
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        except RuntimeError as err:
            if not str(err).startswith("DataLoader worker"):
                raise
            raise DataError(
                f"a loader process died ({str(err).splitlines()[0].rstrip('. ')}); if (shared) "
                "memory is short set data.workers: 0, else check the data with lnln-dist verify"
            ) from err

    def __len__(self) -> int:
        """Micro-batches of one iteration, if ``items`` knows their number."""
        return len(self._loader)


def make_loader(
    collator: Collator,
    items: Iterable[MicroBatch],
    *,
    workers: int = 0,
    prefetch: int = 4,
    pin_memory: bool = False,
) -> Loader:
    """A loader of ``items`` in their order; the batches are the same for any number of workers.

    Args:
        collator: makes a batch of a micro-batch.
        items: iterated anew at each iteration of the loader, so that resuming is starting it
            elsewhere (``plan.EpochItems``, or a plain list).
        workers: processes of this rank; 0 loads in the calling process. They live as long as
            the loader.
        prefetch: micro-batches each worker keeps ready.
        pin_memory: page-locked memory; acts only where there is a GPU.
    """
    return Loader(collator, items, workers=workers, prefetch=prefetch, pin_memory=pin_memory)
