"""Where a feature file's real frames lie: by its lengths, by the text's mask, or by its zeros.

Nobody writes down whether a file is padded at the end or in front, nor whether its frames are
aligned with the tokens: the frames that are not zero have to say so.

Shape letters: N samples, T places with padding.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.data.mmsa import RawFile, RawSplit
from lnln_dist.data.repair import frames_of, one_per_sample, read_tokens, sample_shape
from lnln_dist.data.schema import FrameModality
from lnln_dist.errors import DataError

SMALL_SHARE = 0.01  # of the non-zero frames: what may be dropped unasked
NEAR = 3  # places by which aligned frames may be fewer than tokens ([CLS], [SEP], no face found)
FEW = 3  # sequences, or zero frames of one, that show nothing yet


class Extent(NamedTuple):
    """Real frames of the samples of a split among their padded places."""

    start_N: NDArray[np.int64]
    length_N: NDArray[np.int64]
    counts: Counter[str]  # repairs, as in ``Index.repairs``
    filled_NT: NDArray[np.bool_]  # frames that are not zero
    never_NT: NDArray[np.bool_]  # frames that are NaN throughout: were never there


class _Look(NamedTuple):
    """What a split has to say."""

    where: str
    ids: Sequence[str]
    filled_NT: NDArray[np.bool_]  # frames that are not zero
    never_NT: NDArray[np.bool_]
    length_N: NDArray[np.int64] | None  # of the file, or of the text where it has as many places
    given: bool  # of the file
    counts: Counter[str]


def find_extents(
    raw: RawFile, m: FrameModality, *, name: str, chunk_bytes: int, allow_cut: bool
) -> dict[str, Extent]:
    """Finds the real frames of all splits; each is padded at the end, in front, or at both ends.

    Counts ``padded_in_front`` (samples), ``length_from_mask``, ``length_from_zeros``, of lengths
    beyond the padded places ``over_padding``, and ``leading_zeros`` (frames, where they may be
    padding and too little says so), each as ``MODALITY.what``.

    Args:
        raw: the feature file.
        m: the modality.
        name: of the file, for messages.
        chunk_bytes: about how much of the file is looked at in one go.
        allow_cut: drop whatever lies outside the lengths of the file.

    Raises:
        DataError: lengths that are none, or that the frames contradict; the sample is named.
    """
    looks = {n: _look(split, m, f"{name}: {n}", chunk_bytes) for n, split in raw.splits.items()}
    every = list(looks.values())
    stated = [look for look in every if look.given]
    given = sum(len(look.ids) for look in stated)
    over = sum(look.counts[f"{m}.over_padding"] for look in every)
    if over >= max(FEW, 0.9 * given):
        raise DataError(
            f"{name}: {over} of {given} {m}_lengths exceed the places of {m}: its axes may be "
            "[n, D, T], which must be [n, T, D]; otherwise correct the lengths or leave them out"
        )
    aligned = False
    if stated:
        front = _dropped(stated, front=True) < _dropped(stated, front=False)
    elif any(_aligned(every, front=side) for side in (False, True)):
        aligned, front = True, not _aligned(every, front=False)
    else:
        front = bool(_zeros_in_front(every))
    sides = {n: front if aligned else _side(look, front) for n, look in looks.items()}
    if not allow_cut:
        for n, look in looks.items():
            if look.given:
                _refuse_contradictions(look, m, front=sides[n])
    extents = {n: _extent(look, m, sides[n], aligned) for n, look in looks.items()}
    return extents if aligned else _unled(looks, extents, m)


def _look(split: RawSplit, m: FrameModality, where: str, chunk_bytes: int) -> _Look:
    values, rows = split.frames[m], len(split.ids)
    counts: Counter[str] = Counter()
    places, width = sample_shape(values, where=f"{where}: {m}")
    given = split.lengths[m] is not None
    if given:
        length_N: NDArray[np.int64] | None = given_lengths(
            split.lengths[m],
            padded=places,
            ids=split.ids,
            field=m,
            counts=counts,
            where=f"{where}: {m}_lengths",
        )
    else:
        length_N = _mask(split, places)
    step = max(1, chunk_bytes // (places * width * getattr(values, "itemsize", 8)))
    filled, never = [], []
    for start in range(0, rows, step):
        chunk_NTD = frames_of(values, slice(start, start + step), where=f"{where}: {m}")
        # Padding by -inf or NaN is padding.
        filled.append(((chunk_NTD != 0) & np.isfinite(chunk_NTD)).any(axis=2))
        never_NT = np.isnan(chunk_NTD[..., 0])
        if never_NT.any():
            never_NT[never_NT] = np.isnan(chunk_NTD[never_NT]).all(axis=1)
        never.append(never_NT)
    looked = np.concatenate(filled), np.concatenate(never)
    return _Look(f"{where}: {m}", split.ids, *looked, length_N, given, counts)


def given_lengths(
    values: Any, *, padded: int, ids: Sequence[str], field: str, counts: Counter[str], where: str
) -> NDArray[np.int64]:
    """Sequence lengths as the file gives them, [N], in 0..``padded``.

    Counts ``FIELD.over_padding``: longer than the padded sequence, so cut to it.

    Raises:
        DataError: one is not a whole number >= 0; the message names the sample.
    """
    array = one_per_sample(values, where=where)
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0) & (array == np.floor(array))))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where}: sample {ids[row]!r} has the length {array[row]}, not a whole number >= 0"
        )
    counts[f"{field}.over_padding"] += int((array > padded).sum())
    return np.asarray(np.minimum(array, padded), dtype=np.int64)


def _mask(split: RawSplit, places: int) -> NDArray[np.int64] | None:
    """Lengths of the text, [N]; None if it has another number of places, or no sound mask."""
    if split.text_bert is None:
        return None
    try:
        found = read_tokens(split.text_bert, ids=split.ids, where="text_bert")
    except DataError:  # told where its ids are used; where they are not, nothing hangs on it
        return None
    return found.lengths_N if found.ids_NT.shape[1] == places else None


def _outside(look: _Look, *, front: bool) -> NDArray[np.int64]:
    """Non-zero frames outside the lengths, [N], the padding being at the end or in front."""
    assert look.length_N is not None
    place_T = np.arange(look.filled_NT.shape[1])[:: -1 if front else 1]
    outside_N: NDArray[np.int64] = (look.filled_NT & (place_T >= look.length_N[:, None])).sum(
        axis=1
    )
    return outside_N


def _dropped(looks: Sequence[_Look], *, front: bool) -> float:
    """Share of the non-zero frames outside the lengths."""
    dropped = sum(int(_outside(look, front=front).sum()) for look in looks)
    return dropped / max(1, sum(int(look.filled_NT.sum()) for look in looks))


def _side(look: _Look, front: bool) -> bool:
    """Whether a split is padded in front, where the file as a whole is so or not."""
    if not look.given:
        own = _zeros_in_front([look])
        return front if own is None else own
    # The other side only where that one fits and the file's does not.
    lost, other = (_dropped([look], front=f) for f in (front, not front))
    return front != (other <= SMALL_SHARE < lost)


def _contradicted(look: _Look, *, front: bool) -> NDArray[np.bool_]:
    """Samples that contradict their lengths, [N]."""
    # A few stray frames are harmless, unless they are most of what a sample has.
    many = _dropped([look], front=front) > SMALL_SHARE
    wrong_N: NDArray[np.bool_] = _outside(look, front=front) > (
        0 if many else look.filled_NT.sum(axis=1) / 2
    )
    return wrong_N


def _refuse_contradictions(look: _Look, m: FrameModality, *, front: bool) -> None:
    wrong_N, outside_N = _contradicted(look, front=front), _outside(look, front=front)
    if wrong_N.any() and look.length_N is not None:
        row = int(np.argmax(outside_N * wrong_N))
        raise DataError(
            f"{look.where}: sample {look.ids[row]!r}: {outside_N[row]} of its "
            f"{look.filled_NT[row].sum()} non-zero frames lie outside its length "
            f"{look.length_N[row]}, wherever the padding is ({wrong_N.sum()} such samples, "
            f"{outside_N.sum() / look.filled_NT.sum():.1%} of the non-zero frames): correct "
            f"{m}_lengths, leave it out (the frames then say how long they are), or drop these "
            "frames with --allow-cut"
        )


def _aligned(looks: Sequence[_Look], *, front: bool) -> bool:
    """Whether the frames lie inside the text's mask and most sequences fill it."""
    near = []
    for look in looks:
        if look.length_N is None or _dropped([look], front=front) > SMALL_SHARE:
            return False
        if _contradicted(look, front=front).any():
            return False
        span_N = look.filled_NT.shape[1] - sum(_zero_ends(look.filled_NT))
        near.append((look.length_N - span_N <= NEAR)[look.filled_NT.any(axis=1)])
    told = np.concatenate(near)
    return bool(len(told)) and bool(told.mean() >= 0.5)


def _zeros_in_front(looks: Sequence[_Look]) -> bool | None:
    """Whether zeros lead clearly more often than they trail; None if neither is clear."""
    ends = [_zero_ends(look.filled_NT[look.filled_NT.any(axis=1)]) for look in looks]
    lead_N, trail_N = (np.concatenate(side) for side in zip(*ends, strict=True))
    # A sequence may begin with zeros of its own (a face not yet found), but seldom does.
    for front, more_N, less_N in ((True, lead_N, trail_N), (False, trail_N, lead_N)):
        more, less = (more_N > 0).sum(), (less_N > 0).sum()
        if more >= max(FEW, 0.1 * len(more_N)) and more > 2 * less and more_N.sum() > less_N.sum():
            return front
    return None


def _zero_ends(filled_NT: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Zeros before the first frame and behind the last, [N] each; T and T where there is none."""
    places, has_N = filled_NT.shape[1], filled_NT.any(axis=1)
    lead_N = np.where(has_N, np.argmax(filled_NT, axis=1), places)
    trail_N = np.where(has_N, np.argmax(filled_NT[:, ::-1], axis=1), places)
    return lead_N, trail_N


def _extent(look: _Look, m: FrameModality, front: bool, aligned: bool) -> Extent:
    counts, (rows, places) = look.counts, look.filled_NT.shape
    if look.length_N is not None and (look.given or aligned):
        length_N = look.length_N
        counts[f"{m}.length_from_mask"] = 0 if look.given else rows
    else:
        length_N = places - _zero_ends(look.filled_NT)[0 if front else 1]
        counts[f"{m}.length_from_zeros"] = rows
    start_N = np.where(length_N > 0, places - length_N, 0) if front else np.zeros_like(length_N)
    counts[f"{m}.padded_in_front"] = int((start_N > 0).sum())
    return Extent(start_N, length_N, counts, look.filled_NT, look.never_NT)


def _unled(
    looks: dict[str, _Look], extents: dict[str, Extent], m: FrameModality
) -> dict[str, Extent]:
    """Extents without zero frames at their beginnings, where these are padding; else counted.

    Lengths may count padding in front, and frames may lie between zeros on both sides.
    """
    # A frame that is said to be missing is no padding.
    ends = {
        n: _inner_ends(extent.filled_NT | extent.never_NT, extent) for n, extent in extents.items()
    }
    whole = _is_led(list(ends.values()))
    out = {}
    for n, extent in extents.items():
        start_N, length_N, counts, *_ = extent
        lead_N, look = ends[n][0], looks[n]
        led_N, has_N = lead_N >= FEW, look.filled_NT.any(axis=1)
        if _is_led([ends[n]]) or (whole and len(lead_N) <= 2 * FEW):
            padding_N = has_N
        elif not look.given and (has_N & ~led_N).sum() < FEW:
            # Too few to compare with: a sequence that fills the last place was put there.
            padding_N = led_N & (start_N + length_N == look.filled_NT.shape[1])
        else:
            padding_N = np.zeros_like(has_N)
        start_N, length_N = start_N + lead_N * padding_N, length_N - lead_N * padding_N
        counts[f"{m}.padded_in_front"] = int((start_N > 0).sum())
        counts[f"{m}.leading_zeros"] = int(lead_N[led_N & ~padding_N].sum())
        out[n] = extent._replace(start_N=start_N, length_N=length_N)
    return out


def _is_led(ends: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> bool:
    """Whether half of the sequences begin with several zero frames, and hardly any end so."""
    lead_N, trail_N = (np.concatenate(side) for side in zip(*ends, strict=True))
    leading, trailing = (lead_N >= FEW).sum(), (trail_N >= FEW).sum()
    return bool(leading >= max(FEW, 0.5 * len(lead_N)) and trailing <= 0.1 * leading)


def _inner_ends(
    filled_NT: NDArray[np.bool_], extent: Extent
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Zero frames that sequences begin and end with, within their extents, [N] each."""
    places, stop_N = filled_NT.shape[1], extent.start_N + extent.length_N
    place_T = np.arange(places)
    inside_NT = filled_NT & (place_T >= extent.start_N[:, None]) & (place_T < stop_N[:, None])
    lead_N, trail_N = _zero_ends(inside_NT)
    has_N = lead_N < places
    return (
        np.where(has_N, lead_N - extent.start_N, 0),
        np.where(has_N, trail_N - (places - stop_N), 0),
    )
