"""Batches from rows: padding, noise, worker processes.

Workers need no seeds: what a micro-batch holds is decided by its rows and epoch alone.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lnln_dist.classes import Targets
from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import Lengths, Noise, Widths, valid_places
from lnln_dist.data.plan import MicroBatch, Step
from lnln_dist.data.schema import FrameModality, Scale
from lnln_dist.data.shards import Split
from lnln_dist.data.workers import start_worker, terminate_held
from lnln_dist.errors import DataError, UserError
from lnln_dist.types import Batch, ClassTarget, SequenceInput, TextInput

CONSTANT = 1e-6  # of the mean: a deviation below it is float32's rounding
UNTIL_TOLD_S = 5.0  # longest wait for the signal of a loader process's end

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class LoadedStep(NamedTuple):
    """One rank's batches of an optimizer step."""

    samples: int  # of the step over all ranks: the denominator of its losses
    batches: list[Batch]


class Erased(NamedTuple):
    """The noise of one modality for a batch."""

    keep_BT: Tensor  # bool, True on valid places that the noise spares
    rate_B: Tensor  # float32, nominal missing rate in [0, 1]


Draws = Mapping[Modality, Erased]


def under(batch: Batch, draws: Draws, *, unk_id: int) -> Batch:
    """The batch with only what ``draws`` spares; its frames and complete tokens are shared.

    Args:
        batch: complete or damaged, on any device.
        draws: for the same samples, on the same device.
        unk_id: token id that stands for an erased token.
    """
    left = {m: _left(getattr(batch, m), draws[m]) for m in MODALITIES}
    text = batch.text
    noisy_ids_BT = torch.where(left["text"].keep_BT | ~text.valid_BT, text.ids_BT, unk_id)
    return batch._replace(
        text=text._replace(noisy_ids_BT=noisy_ids_BT, **left["text"]._asdict()),
        audio=batch.audio._replace(**left["audio"]._asdict()),
        vision=batch.vision._replace(**left["vision"]._asdict()),
    )


def _left(given: TextInput | SequenceInput, erased: Erased) -> Erased:
    """The noise, with nothing kept that was never there: gaps look erased at any rate."""
    if given.seen_BT is None:
        return erased
    return erased._replace(keep_BT=erased.keep_BT & given.seen_BT)


class Collator:
    """Rows -> ``Batch``: complete frames and tokens with the masks of what survives the noise.

    Args:
        split: the samples.
        noise: the noise stream.
        padding: to the longest sample of the micro-batch, or to ``padded_lengths``.
        padded_lengths: most places per modality: the sizes of the model's positional tables.
        unk_id: token id that stands for an erased token.
        pad_id: token id of padding.
        targets: the classes of the split's labels, where classes are trained.
        normalised: means and deviations by which frames are normalised; None: they are not.

    Raises:
        DataError: a sample is longer than ``padded_lengths``.
    """

    def __init__(
        self,
        split: Split,
        noise: Noise,
        *,
        padding: Literal["batch", "corpus"],
        padded_lengths: Mapping[Modality, int],
        unk_id: int,
        pad_id: int,
        targets: Targets | None = None,
        normalised: Mapping[FrameModality, Scale] | None = None,
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
        self._unk_id, self._pad_id, self._targets = unk_id, pad_id, targets
        self._standardisers = {m: Standardiser(scale) for m, scale in (normalised or {}).items()}

    def __call__(self, item: MicroBatch) -> Batch:
        """Loads one micro-batch under the noise."""
        return under(self.whole(item), self.draws(item, self._noise), unk_id=self._unk_id)

    def step(self, step: Step) -> LoadedStep:
        """Loads all micro-batches of one optimizer step."""
        return LoadedStep(step.samples, [self(item) for item in step.micro_batches])

    def whole(self, item: MicroBatch) -> Batch:
        """Loads one micro-batch with nothing erased."""
        rows = item.rows
        lengths, width = self._sizes(rows)
        valid = {m: torch.from_numpy(valid_places(lengths[m], width[m])) for m in MODALITIES}
        return Batch(
            text=self._text(rows, valid["text"]),
            audio=self._sequence("audio", rows, valid["audio"]),
            vision=self._sequence("vision", rows, valid["vision"]),
            label_B=torch.from_numpy(self._split.labels[rows]),
            weight_B=torch.from_numpy(item.weights.copy()),
            row_B=torch.from_numpy(rows.copy()),
            target=self._targets
            and ClassTarget(*(torch.from_numpy(of_split[rows]) for of_split in self._targets)),
        )

    def draws(self, item: MicroBatch, noise: Noise) -> Draws:
        """What survives of one micro-batch under a noise stream."""
        lengths, width = self._sizes(item.rows)
        found = noise.draw(item.rows, item.epoch, lengths, width)
        return {
            m: Erased(torch.from_numpy(draw.keep_BT), torch.from_numpy(draw.rate_B))
            for m, draw in found.items()
        }

    def _sizes(self, rows: NDArray[np.int64]) -> tuple[Lengths, Widths]:
        lengths = {m: self._split.lengths[m][rows] for m in MODALITIES}
        # At least one place, so that an all-empty batch still has a shape to attend over.
        return lengths, self._corpus or {m: max(1, int(lengths[m].max())) for m in MODALITIES}

    def _text(self, rows: NDArray[np.int64], valid_BT: Tensor) -> TextInput:
        ids_BT = np.full(valid_BT.shape, self._pad_id, dtype=np.int64)
        segments_BT = np.zeros(valid_BT.shape, dtype=np.int64)
        for i, row in enumerate(rows.tolist()):
            tokens, segments = self._split.tokens(row), self._split.segments(row)
            ids_BT[i, : len(tokens)] = tokens
            segments_BT[i, : len(segments)] = segments
        whole_BT = torch.from_numpy(ids_BT)
        seen_BT = self._seen("text", rows, valid_BT)
        return TextInput(
            ids_BT=whole_BT,
            noisy_ids_BT=whole_BT,
            segments_BT=torch.from_numpy(segments_BT),
            valid_BT=valid_BT,
            keep_BT=valid_BT if seen_BT is None else seen_BT,
            rate_B=torch.zeros(len(rows)),
            seen_BT=seen_BT,
        )

    def _seen(self, modality: Modality, rows: NDArray[np.int64], valid_BT: Tensor) -> Tensor | None:
        """Valid places that were there; None where the split has no gaps in this modality."""
        there_BT: NDArray[np.bool_] = np.zeros(valid_BT.shape, np.bool_)
        for i, row in enumerate(rows.tolist()):
            there_T = self._split.seen(modality, row)
            if there_T is None:
                return None
            there_BT[i, : len(there_T)] = there_T
        return torch.from_numpy(there_BT)

    def _sequence(
        self,
        modality: Literal["audio", "vision"],
        rows: NDArray[np.int64],
        valid_BT: Tensor,
    ) -> SequenceInput:
        views = [self._split.frames(modality, row) for row in rows.tolist()]
        frames_BTD = np.zeros((*valid_BT.shape, views[0].shape[1]), dtype=np.float32)
        standardised = self._standardisers.get(modality)
        for i, view in enumerate(views):
            frames_BTD[i, : len(view)] = view if standardised is None else standardised(view)
        seen_BT = self._seen(modality, rows, valid_BT)
        return SequenceInput(
            frames_BTD=torch.from_numpy(frames_BTD),
            valid_BT=valid_BT,
            keep_BT=valid_BT if seen_BT is None else seen_BT,
            rate_B=torch.zeros(len(rows)),
            seen_BT=seen_BT,
        )


class Standardiser:
    """Frames in standard deviations from the mean, [T, D]; those that are wholly zero stay so.

    A feature that does not vary, but for rounding, becomes 0 where it has its mean.
    """

    def __init__(self, scale: Scale) -> None:
        assert scale.mean is not None
        assert scale.sd is not None
        self._mean_D, sd_D = np.array(scale.mean), np.array(scale.sd)
        self._sd_D = np.where(sd_D > CONSTANT * np.abs(self._mean_D), sd_D, 1.0)

    def __call__(self, frames_TD: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of one sample."""
        there_T1 = frames_TD.any(axis=1, keepdims=True)
        found_TD: NDArray[np.float64] = (frames_TD - self._mean_D) / self._sd_D * there_T1
        return found_TD.astype(np.float32)


class _Failure:
    """A user's error on its way out of a worker; torch would wrap it in a traceback."""

    def __init__(self, error: UserError) -> None:
        self.error = error


class _Items(Dataset["Loaded | _Failure"], Generic[Item, Loaded]):
    """A function as a map-style dataset whose index is what is to be loaded."""

    def __init__(self, load: Callable[[Item], Loaded]) -> None:
        self._load = load

    def __getitem__(self, item: Item) -> "Loaded | _Failure":
        try:
            return self._load(item)
        except UserError as err:
            return _Failure(err)


def _as_is(item: Any) -> Any:
    return item


class Loader(Generic[Item, Loaded]):
    """What was loaded of some items in their order, the same for any number of workers.

    Args:
        load: makes of an item (such as a micro-batch or a step of them) what is yielded: a
            ``Collator``, its ``step``, or any function that can be pickled.
        items: iterated anew at each iteration of the loader, so that resuming is starting it
            elsewhere.
        workers: processes of this rank; 0 loads in the calling process. They live as long as
            the loader.
        prefetch: items each worker keeps ready: whole steps where an item is a step.
        pin_memory: page-locked memory; acts only where there is a GPU.
    """

    def __init__(
        self,
        load: Callable[[Item], Loaded],
        items: Iterable[Item],
        *,
        workers: int = 0,
        prefetch: int = 4,
        pin_memory: bool = False,
    ) -> None:
        self._loader: DataLoader[Loaded | _Failure] = DataLoader(
            _Items(load),
            sampler=cast("Any", items),
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

    def __iter__(self) -> Iterator[Loaded]:
        """Loads from where ``items`` starts now.

        Raises:
            UserError: the loader's own, also when it happened in a worker.
            DataError: a worker process died.
        """
        try:
            for item in self._load():
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        except (RuntimeError, ConnectionError, EOFError) as err:
            lost = not isinstance(err, RuntimeError) and self._misses_one(err)
            if not lost and not str(err).startswith("DataLoader worker"):
                raise
            cause = (str(err).splitlines() or [type(err).__name__])[0].rstrip(". ")
            raise DataError(
                f"a loader process died ({cause}); if (shared) "
                "memory is short set data.workers: 0, else check the data with lnln-dist verify"
            ) from err

    def _load(self) -> Iterator[Loaded | _Failure]:
        try:
            with terminate_held():
                loaded = iter(self._loader)
            yield from loaded
        except (ConnectionError, EOFError) as err:
            # A process that is gone may be missed first where its tensors are fetched. The signal
            # of its end is yet to come, and torch raises wherever that finds us: let it be here.
            if self._misses_one(err):
                time.sleep(UNTIL_TOLD_S)
            raise

    def _misses_one(self, err: Exception) -> bool:
        """Whether an error of a connection is that to a loader's process, not one of its own."""
        return self._loader.num_workers > 0 and not str(err).startswith("Caught ")

    def __len__(self) -> int:
        """Items of one iteration, if ``items`` knows their number."""
        return len(self._loader)
