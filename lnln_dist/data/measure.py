"""What prepared data look like: labels, sizes of features, zero frames, the gaps they come with.

A gap is a run of places inside a sequence that look as erased ones do: [UNK] tokens, or frames that
are wholly zero. Zeros that a sequence begins or ends with are no gaps, as they may be padding,
unless there is nothing else in it: then all of it is one.

Shape letters: N samples, S places of several samples put one after another, D features.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.noise import MARGIN
from lnln_dist.data.remote import on_this_machine
from lnln_dist.data.schema import (
    FRAMES,
    SPLITS,
    FrameModality,
    Gaps,
    Index,
    LabelScale,
    Scale,
    SplitName,
    read_index,
)
from lnln_dist.data.shards import open_shard
from lnln_dist.data.writer import numbers, sequences, shard_schema
from lnln_dist.errors import DataError

# A single [UNK] is a word that the vocabulary lacks, which any text has.
SHORTEST: dict[Modality, int] = {"text": 2, "audio": 1, "vision": 1}


class _Runs(NamedTuple):
    """Marked places on end within a sample: where each run begins and ends, and of which sample."""

    first_R: NDArray[np.int64]
    stop_R: NDArray[np.int64]
    row_R: NDArray[np.int64]


def _runs(marked_S: NDArray[np.bool_], lengths_N: NDArray[np.int64]) -> _Runs:
    stop_N = np.cumsum(lengths_N)
    border_S: NDArray[np.bool_] = np.zeros(len(marked_S) + 1, np.bool_)  # before each, and at last
    border_S[[0, *stop_N]] = True
    first_R = np.flatnonzero(marked_S & (border_S[:-1] | ~np.roll(marked_S, 1)))
    last_R = np.flatnonzero(marked_S & (border_S[1:] | ~np.roll(marked_S, -1)))
    return _Runs(first_R, last_R + 1, np.searchsorted(stop_N, first_R, side="right"))


def find_gaps(
    empty_S: NDArray[np.bool_], lengths_N: NDArray[np.int64], modality: Modality
) -> NDArray[np.bool_]:
    """The places that lie in gaps, [S].

    Args:
        empty_S: places that look erased.
        lengths_N: places of each sample, which add up to S.
        modality: a text's first and last token always stay, what lies between is all there is.
    """
    margin = MARGIN[modality]
    stop_N = np.cumsum(lengths_N)
    first_R, stop_R, row_R = _runs(empty_S, lengths_N)
    begin_R, end_R = (stop_N - lengths_N)[row_R], stop_N[row_R]
    inside_R = (first_R > begin_R) & (stop_R < end_R)
    gap_R = inside_R & (stop_R - first_R >= SHORTEST[modality])
    all_R = (first_R <= begin_R + margin) & (stop_R >= end_R - margin)
    gap_R |= all_R & (end_R - begin_R > 2 * margin)
    steps_S: NDArray[np.int64] = np.zeros(len(empty_S) + 1, np.int64)
    steps_S[first_R[gap_R]] += 1
    np.subtract.at(steps_S, stop_R[gap_R], 1)
    gap_S: NDArray[np.bool_] = np.cumsum(steps_S[:-1]) > 0
    if margin:
        gap_S[stop_N - lengths_N] = gap_S[stop_N - 1] = False
    return gap_S


def count_gaps(gap_S: NDArray[np.bool_], lengths_N: NDArray[np.int64], modality: Modality) -> Gaps:
    """How many places, runs and samples with such there are, see ``find_gaps``."""
    first_R, stop_R, row_R = _runs(gap_S, lengths_N)
    whole_R = stop_R - first_R == lengths_N[row_R] - 2 * MARGIN[modality]
    return Gaps(
        samples=len(np.unique(row_R)),
        runs=len(first_R),
        places=int(gap_S.sum()),
        absent=int(whole_R.sum()),
    )


class _Moments:
    """Mean and squared deviations of features, added up chunk by chunk (Chan et al. 1979)."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean_D, self.squares_D = np.zeros(width), np.zeros(width)

    def add(self, frames_SD: NDArray[np.float32]) -> None:
        """Counts frames in."""
        if not len(frames_SD):
            return
        own_D = frames_SD.mean(axis=0, dtype=np.float64)
        squares_D = np.square(frames_SD - own_D).sum(axis=0)
        total, shift_D = self.count + len(frames_SD), own_D - self.mean_D
        self.squares_D += squares_D + shift_D**2 * (self.count * len(frames_SD) / total)
        self.mean_D += shift_D * (len(frames_SD) / total)
        self.count = total

    def deviation(self) -> NDArray[np.float64]:
        """Standard deviations of all that was counted, [D]; 0 of nothing."""
        deviation_D: NDArray[np.float64] = np.sqrt(self.squares_D / max(1, self.count))
        return deviation_D


def normalisation(index: Index, *, wanted: bool) -> dict[FrameModality, Scale] | None:
    """What frames are normalised by, if they are to be (``data.normalise``).

    Raises:
        DataError: the data were prepared before means were noted.
    """
    if not wanted:
        return None
    scales = index.scales or {}
    if any(m not in scales or scales[m].mean is None or scales[m].sd is None for m in FRAMES):
        raise DataError(
            "data.normalise: these data were prepared before means and deviations were noted: "
            "prepare them anew"
        )
    return scales


class Measure:
    """Adds up what is said of the features, split by split.

    Args:
        widths: features per frame.
        unk_id: token id that stands for an unknown or erased word.
    """

    def __init__(self, widths: Mapping[FrameModality, int], unk_id: int) -> None:
        self._unk_id = unk_id
        self._largest = {m: np.zeros(widths[m], np.float32) for m in FRAMES}
        self._moments = {m: _Moments(widths[m]) for m in FRAMES}
        self._zero: dict[FrameModality, Counter[SplitName]] = {m: Counter() for m in FRAMES}
        self._gaps: dict[Modality, dict[SplitName, Counter[str]]] = {
            m: defaultdict(Counter) for m in MODALITIES
        }
        self._labels: dict[SplitName, list[NDArray[np.float32]]] = defaultdict(list)

    def add(
        self,
        split: SplitName,
        tokens_S: NDArray[np.int32],
        frames: Mapping[FrameModality, NDArray[np.float32]],
        lengths: Mapping[Modality, NDArray[np.int64]],
        seen: Mapping[Modality, NDArray[np.bool_]] | None = None,
    ) -> None:
        """Counts samples of a split in.

        Args:
            split: theirs.
            tokens_S: token ids.
            frames: of the other modalities, [S, D].
            lengths: places of each sample, [N] per modality.
            seen: places that were there, [S]; a modality that is left out has no gaps. None: gaps
                are looked for.
        """
        empty: dict[Modality, NDArray[np.bool_]] = {"text": tokens_S == self._unk_id}
        for m, frames_SD in frames.items():
            largest_D = self._largest[m]
            # Two passes without a copy of the values: abs would make one.
            for most_D in (frames_SD.max(axis=0), 0 - frames_SD.min(axis=0)):
                np.maximum(largest_D, most_D, out=largest_D)
            empty[m] = np.logical_not(frames_SD.any(axis=1))
            self._zero[m][split] += int(empty[m].sum())
            if split == "train":
                self._moments[m].add(frames_SD[~empty[m]] if empty[m].any() else frames_SD)
        for modality, lengths_N in lengths.items():
            found = Gaps(samples=0, runs=0, places=0, absent=0)
            if seen is None:
                gap_S = find_gaps(empty[modality], lengths_N, modality)
                found = count_gaps(gap_S, lengths_N, modality)
            elif modality in seen:
                found = count_gaps(~seen[modality], lengths_N, modality)
            self._gaps[modality][split].update(found.model_dump())

    def add_labels(self, split: SplitName, label_N: NDArray[np.float32]) -> None:
        """Counts the labels to predict of some samples of a split in."""
        self._labels[split].append(label_N)

    def label_scales(self) -> dict[SplitName, LabelScale]:
        """How they are distributed, of the splits in which every label is a number."""
        whole = {
            split: np.concatenate(parts).astype(np.float64) for split, parts in self._labels.items()
        }
        return {
            split: LabelScale(mean=float(label_N.mean()), sd=float(label_N.std()))
            for split, label_N in whole.items()
            if np.isfinite(label_N).all()
        }

    def scales(self) -> dict[FrameModality, Scale]:
        """Sizes, zero frames, and what the training split is normalised by."""
        return {
            m: Scale(
                largest=tuple(map(float, self._largest[m])),
                zero_frames=dict(self._zero[m]),
                mean=tuple(map(float, self._moments[m].mean_D)),
                sd=tuple(map(float, self._moments[m].deviation())),
            )
            for m in FRAMES
        }

    def gaps(self) -> dict[Modality, dict[SplitName, Gaps]]:
        """The gaps of every modality and split."""
        return {m: {s: Gaps(**n) for s, n in of.items()} for m, of in self._gaps.items()}

    def told(self) -> dict[str, Any]:
        """All of it, by the fields of an ``Index``."""
        labels = self.label_scales()
        return {"label_scales": labels, "scales": self.scales(), "gaps": self.gaps()}


def measured(path: str | Path) -> Index:
    """The index of prepared data, with what an older one does not say read from the shards."""
    folder = on_this_machine(path)
    index = read_index(folder)
    gaps = [found for of_split in (index.gaps or {}).values() for found in of_split.values()]
    known = index.scales is not None and set(index.label_scales or ()) == set(SPLITS)
    if known and gaps and all(found.absent is not None for found in gaps):
        return index
    found = Measure(index.widths, index.tokenizer.unk_id)
    for name in SPLITS:
        told = index.splits[name].seen
        schema = shard_schema(index.labels, index.widths, told)
        for shard in index.splits[name].shards:
            for record in open_shard(folder, shard, schema):
                columns = sequences(record, index.widths, told)
                frames = {m: columns[m].values for m in FRAMES}
                lengths = {m: columns[m].lengths for m in MODALITIES}
                seen = {m: columns[f"seen_{m}"].values != 0 for m in told}
                # Shards of the first version may be of a time before there were masks.
                masks = None if index.format_version == 1 else seen
                found.add(name, columns["text"].values, frames, lengths, masks)
                found.add_labels(name, numbers(record.column("label"), np.float32))
    return index.model_copy(update=found.told())
