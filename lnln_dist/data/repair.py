"""Fields of feature files made sound: checked, mended where that is harmless, and counted.

Shape letters: N samples, T places with padding, D features, S places of several samples put
one after another without padding.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.errors import DataError

TOLERANCE = 1e-5  # how far float32 may put a label outside its range


class TokensError(DataError):
    """The ids of ``text_bert`` cannot be used; ``problem`` is the message without the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem


class Tokens(NamedTuple):
    """The ``text_bert`` field of a split."""

    ids_NT: NDArray[np.int32]
    segments_NT: NDArray[np.int8]
    lengths_N: NDArray[np.int64]


def numeric(values: Any, *, where: str) -> NDArray[Any]:
    """An array of numbers from an array or (nested) list.

    Raises:
        DataError: rows of different shapes, or something else than numbers.
    """
    if not isinstance(values, np.ndarray) or values.dtype.hasobject:
        try:
            values = np.asarray(list(values))
        except (ValueError, TypeError, OverflowError) as err:
            raise DataError(f"{where}: rows of different shapes: pad them to one length") from err
    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where}: holds {array.dtype} values, not numbers")
    return array


def sample_shape(values: Any, *, where: str) -> tuple[int, ...]:
    """Shape of the first sample of an array or nested list.

    Raises:
        DataError: it is ragged.
    """
    try:
        return np.shape(values[0])
    except ValueError as err:
        raise DataError(f"{where}: rows of different lengths: pad them to one length") from err


def frames_of(values: Any, rows: slice, *, where: str) -> NDArray[Any]:
    """Padded frames of some samples, [N, T, D], of an array or nested list.

    Raises:
        DataError: samples of different shapes, or something else than numbers.
    """
    chunk_NTD = numeric(values[rows], where=where)
    if chunk_NTD.shape[1:] != sample_shape(values, where=where):
        raise DataError(f"{where}: samples of different shapes: pad them to one length")
    return chunk_NTD


def one_per_sample(values: Any, *, where: str) -> NDArray[Any]:
    """A vector of numbers, [N], from [N] or [N, 1].

    Raises:
        DataError: several values per sample.
    """
    array = numeric(values, where=where)
    if array.size != len(array):
        raise DataError(f"{where}: has the shape {array.shape}, not one number per sample")
    return array.ravel()


def label_column(
    values: Any,
    *,
    ids: Sequence[str],
    label_range: tuple[float, float],
    where: str,
    clip: bool = False,
) -> tuple[NDArray[np.float32], int]:
    """Labels, float32 [N], and how many were taken for an end of ``label_range`` (``clip``).

    Raises:
        DataError: one is not finite or outside ``label_range``; the message names the sample.
    """
    array = one_per_sample(values, where=where)
    low, high = label_range
    # Written so that NaN counts as outside.
    outside_N = ~((array >= low - TOLERANCE) & (array <= high + TOLERANCE))
    wrong = np.flatnonzero(outside_N & ~np.isfinite(array) if clip else outside_N)
    few = 4 * int(outside_N.sum()) <= len(array)
    if clip and not few and not len(wrong):
        wrong = np.flatnonzero(outside_N)  # most are no strays: the range is wrong
    if len(wrong):
        row = int(wrong[0])
        strays = np.isfinite(array[row]) and few and not clip
        remedy = ", or pass --clip-labels" if strays else ""
        raise DataError(
            f"{where}: sample {ids[row]!r} has the label {array[row]}, outside [{low:g}, {high:g}] "
            f"({len(wrong)} such samples): correct the file or name another data set{remedy}"
        )
    return np.asarray(np.clip(array, low, high), dtype=np.float32), int(outside_N.sum())


def read_tokens(values: Any, *, ids: Sequence[str], where: str) -> Tokens:
    """Splits and checks ``text_bert``, [N, 3, T]: ids, attention mask, segment ids.

    Raises:
        DataError: another shape, numbers that are not whole, a mask with gaps, or fewer than
            the two tokens [CLS] and [SEP]; the message names the sample.
    """
    array = numeric(values, where=where)
    if array.ndim != 3 or array.shape[1] != 3 or not array.shape[2]:
        raise DataError(
            f"{where}: has the shape {array.shape}, expected (samples, 3, places): ids, attention "
            "mask and segment ids"
        )
    retokenise = "correct the file, or tokenise its raw_text with --tokenizer"

    def refuse(wrong_N: Any, what: str) -> None:
        if wrong_N.any():
            sample = ids[int(wrong_N.argmax())]
            raise TokensError(f"{where}: sample {sample!r}: {what}", retokenise)

    whole = np.isfinite(array) & (array >= 0) & (array < 2**31) & (array == np.floor(array))
    refuse(~whole.all(axis=(1, 2)), "token ids that are not whole numbers >= 0")
    ids_NT, mask_NT, segments_NT = (array[:, i].astype(np.int32) for i in range(3))
    gaps_N = (mask_NT > 1).any(axis=1) | (np.diff(mask_NT, axis=1) > 0).any(axis=1)
    refuse(gaps_N, "an attention mask that is not ones followed by zeros")
    lengths_N = mask_NT.sum(axis=1, dtype=np.int64)
    refuse(lengths_N < 2, "fewer than two tokens ([CLS] and [SEP] must be there)")
    refuse((segments_NT > 127).any(axis=1), "segment ids over 127")
    return Tokens(ids_NT, segments_NT.astype(np.int8), lengths_N)


def pack_frames(
    chunk_NTD: NDArray[Any],
    lengths_N: NDArray[np.int64],
    start_N: NDArray[np.int64] | None = None,
    *,
    limit: int,
    field: str,
    counts: Counter[str],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Valid frames one after another, float32 [S, D], and their number per sample, [N] >= 1.

    Values that are not finite in float32 become 0. A sequence without frames becomes a single
    frame of zeros, which is what an erased frame looks like to the network.

    Args:
        chunk_NTD: padded frames.
        lengths_N: valid frames, 0..T.
        start_N: place of the first; None: 0.
        limit: most frames kept.
        field: name in ``counts``.
        counts: adds ``empty``, ``cut``, ``beyond_length`` (frames), ``float64`` (samples),
            ``all_nan`` (frames), and of the others' values ``nan``, ``plus_inf``, ``minus_inf``,
            each as ``FIELD.what``.
    """
    place_NT = np.arange(chunk_NTD.shape[1]) - (0 if start_N is None else start_N[:, None])
    dropped_SD = chunk_NTD[(place_NT < 0) | (place_NT >= lengths_N[:, None])]
    found = Counter(
        empty=int((lengths_N == 0).sum()),
        cut=int((lengths_N > limit).sum()),
        beyond_length=int(((dropped_SD != 0) & np.isfinite(dropped_SD)).any(axis=1).sum()),
        float64=len(chunk_NTD)
        if (dtype := chunk_NTD.dtype).kind == "f" and dtype.itemsize > 4
        else 0,
    )
    kept_N = np.clip(lengths_N, 1, limit)
    packed_SD = chunk_NTD[(place_NT >= 0) & (place_NT < kept_N[:, None])]
    with np.errstate(over="ignore"):  # counted as infinite just below
        packed_SD = packed_SD.astype(np.float32, order="C", copy=False)
    packed_SD[(np.cumsum(kept_N) - kept_N)[lengths_N == 0]] = 0
    if not np.isfinite(packed_SD).all():
        nan_S = np.isnan(packed_SD).sum(axis=1)
        never_S = nan_S == packed_SD.shape[1]
        found["all_nan"] = int(never_S.sum())
        found["nan"] = int(nan_S[~never_S].sum())
        found["plus_inf"] = int(np.isposinf(packed_SD).sum())
        found["minus_inf"] = int(np.isneginf(packed_SD).sum())
        packed_SD = np.nan_to_num(packed_SD, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    counts.update({f"{field}.{what}": n for what, n in found.items()})
    return packed_SD, kept_N
