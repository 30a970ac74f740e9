"""What features look like: their sizes, zero frames, and the gaps they arrive with.

A gap is a run of places inside a sequence that look as erased ones do: [UNK] tokens, or frames that
are wholly zero. Zeros that a sequence begins or ends with are no gaps: they may be padding.

Shape letters: N samples, S places of several samples put one after another, D features.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.remote import on_this_machine
from lnln_dist.data.schema import (
    FRAMES,
    SPLITS,
    FrameModality,
    Gaps,
    Index,
    Scale,
    SplitName,
    read_index,
)
from lnln_dist.data.shards import open_shard
from lnln_dist.data.writer import sequences, shard_schema

# A single [UNK] is a word that the vocabulary lacks, which any text has.
SHORTEST: dict[Modality, int] = {"text": 2, "audio": 1, "vision": 1}


def find_gaps(empty_S: NDArray[np.bool_], lengths_N: NDArray[np.int64], *, shortest: int) -> Gaps:
    """Counts the gaps of sequences.

    Args:
        empty_S: places that look erased.
        lengths_N: places of each sample, which add up to S.
        shortest: places from which a run is a gap.
    """
    stop_N = np.cumsum(lengths_N)
    border_S: NDArray[np.bool_] = np.zeros(len(empty_S) + 1, np.bool_)  # before each, and at last
    border_S[[0, *stop_N]] = True
    first_R = np.flatnonzero(empty_S & (border_S[:-1] | ~np.roll(empty_S, 1)))
    last_R = np.flatnonzero(empty_S & (border_S[1:] | ~np.roll(empty_S, -1)))
    places_R = last_R - first_R + 1
    gap_R = ~border_S[first_R] & ~border_S[last_R + 1] & (places_R >= shortest)
    samples = np.unique(np.searchsorted(stop_N, first_R[gap_R], side="right"))
    return Gaps(samples=len(samples), runs=int(gap_R.sum()), places=int(places_R[gap_R].sum()))


class Measure:
    """Adds up what is said of the features, split by split.

    Args:
        widths: features per frame.
        unk_id: token id that stands for an unknown or erased word.
    """

    def __init__(self, widths: Mapping[FrameModality, int], unk_id: int) -> None:
        self._unk_id = unk_id
        self._largest = {m: np.zeros(widths[m], np.float32) for m in FRAMES}
        self._zero: dict[FrameModality, Counter[SplitName]] = {m: Counter() for m in FRAMES}
        self._gaps: dict[Modality, dict[SplitName, Counter[str]]] = {
            m: defaultdict(Counter) for m in MODALITIES
        }

    def add(
        self,
        split: SplitName,
        tokens_S: NDArray[np.int32],
        frames: Mapping[FrameModality, NDArray[np.float32]],
        lengths: Mapping[Modality, NDArray[np.int64]],
    ) -> None:
        """Counts samples of a split in: token ids, frames [S, D] and the lengths [N] of each."""
        empty: dict[Modality, NDArray[np.bool_]] = {"text": tokens_S == self._unk_id}
        for m, frames_SD in frames.items():
            largest_D = self._largest[m]
            # Two passes without a copy of the values: abs would make one.
            for most_D in (frames_SD.max(axis=0), -frames_SD.min(axis=0)):
                np.maximum(largest_D, most_D, out=largest_D)
            empty[m] = np.logical_not(frames_SD.any(axis=1))
            self._zero[m][split] += int(empty[m].sum())
        for modality, empty_S in empty.items():
            found = find_gaps(empty_S, lengths[modality], shortest=SHORTEST[modality])
            self._gaps[modality][split].update(found.model_dump())

    def scales(self) -> dict[FrameModality, Scale]:
        """Sizes and zero frames."""
        return {
            m: Scale(largest=tuple(map(float, self._largest[m])), zero_frames=dict(self._zero[m]))
            for m in FRAMES
        }

    def gaps(self) -> dict[Modality, dict[SplitName, Gaps]]:
        """The gaps of every modality and split."""
        return {m: {s: Gaps(**n) for s, n in of.items()} for m, of in self._gaps.items()}


def measured(path: str | Path) -> Index:
    """The index of prepared data, with what an older one does not say read from the shards."""
    folder = on_this_machine(path)
    index = read_index(folder)
    if index.scales is not None and index.gaps is not None:
        return index
    schema = shard_schema(index.labels, index.widths)
    found = Measure(index.widths, index.tokenizer.unk_id)
    for name in SPLITS:
        for shard in index.splits[name].shards:
            for record in open_shard(folder, shard, schema):
                columns = sequences(record, index.widths)
                frames = {m: columns[m].values for m in FRAMES}
                lengths = {m: columns[m].lengths for m in MODALITIES}
                found.add(name, columns["text"].values, frames, lengths)
    return index.model_copy(update={"scales": found.scales(), "gaps": found.gaps()})
