"""What the splits of a feature file have in common: widths, lengths, labels, videos."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lnln_dist.config import Modality
from lnln_dist.data.mmsa import LABELS, RawFile
from lnln_dist.data.repair import sample_shape
from lnln_dist.data.schema import FRAMES, FrameModality, LabelName, SplitName
from lnln_dist.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes and columns that hold for all splits."""

    widths: dict[FrameModality, int]  # features per frame
    lengths: dict[FrameModality, int]  # most places kept
    labels: tuple[LabelName, ...]


def find_layout(raw: RawFile, limits: Mapping[Modality, int], *, name: str) -> Layout:
    """Reads the layout off the first sample of every split.

    Args:
        raw: the feature file.
        limits: most places to keep, by modality.
        name: of the file, for messages.

    Raises:
        DataError: frames that are not [places, features], widths or labels that differ.
    """
    widths: dict[FrameModality, int] = {}
    lengths: dict[FrameModality, int] = {}
    for m in FRAMES:
        shapes = {
            n: sample_shape(split.frames[m], where=f"{name}: {n}: {m}")
            for n, split in raw.splits.items()
        }
        for n, shape in shapes.items():
            if len(shape) != 2 or not all(shape):
                raise DataError(
                    f"{name}: {n}: {m} has samples of the shape {shape}, expected (places, "
                    "features)"
                )
        found = {n: shape[1] for n, shape in shapes.items()}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{width} in {n}" for n, width in found.items())
            raise DataError(f"{name}: {m} frames differ in their number of features: {listed}")
        widths[m] = next(iter(found.values()))
        longest = max(shape[0] for shape in shapes.values())
        lengths[m] = min(longest, limits.get(m, longest))
    return Layout(widths=widths, lengths=lengths, labels=_labels(raw, name))


def _labels(raw: RawFile, name: str) -> tuple[LabelName, ...]:
    found: list[LabelName] = []
    for label, field in LABELS.items():
        having = [n for n, split in raw.splits.items() if label in split.labels]
        if having and len(having) < len(raw.splits):
            raise DataError(f"{name}: {field} is in {', '.join(having)} only: all splits or none")
        if having:
            found.append(label)
    return tuple(found)


def shared_videos(ids: Mapping[SplitName, Sequence[str]]) -> dict[str, int]:
    """Number of videos that two splits share, by pair; an id is ``VIDEO$_$CLIP``."""
    videos = {split: {sample.split("$_$")[0] for sample in names} for split, names in ids.items()}
    return {f"{a}/{b}": len(videos[a] & videos[b]) for a, b in itertools.combinations(videos, 2)}
