"""What a row of a field means, however the file spells it: texts, ids, labels, unpadded frames."""

import contextlib
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lnln_dist.data.choices import UTF_8
from lnln_dist.data.unpickle import kind_of, refusal
from lnln_dist.errors import DataError

ID_PARTS = "$_$"  # joins the parts of an id, video first
DEEPEST = 8  # lists within lists; a field has three axes and its samples may be wrapped

Read = TypeVar("Read")


def depth(value: Any) -> int:
    """Axes of an array or nested list, by its first entries; of endless ones, a few."""
    axes = 0
    for _ in range(DEEPEST):
        if isinstance(value, np.ndarray):
            axes += value.ndim
            if not (value.dtype.hasobject and value.size):
                break
            value = value.flat[0]
        elif isinstance(value, list | tuple):
            axes += 1
            if not value:
                break
            value = value[0]
    return axes


def rows(value: Any, where: str) -> int:
    """Samples in an array or list.

    Raises:
        DataError: it is something else, contains itself, or holds something refused.
    """
    if what := refusal(value):
        raise DataError(
            f"{where} holds {what}, which is refused (it might run code): save it again as a plain "
            "numpy array (of a tensor: x.numpy())"
        )
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        _refuse_endless(value, where)
        return len(value)
    raise DataError(f"{where} is {kind_of(value)}, not an array or list of samples")


def _refuse_endless(value: Any, where: str, level: int = 0) -> None:
    """Refuses what numpy and recursions would go through without end."""
    if level > DEEPEST:
        raise DataError(
            f"{where} holds lists that contain themselves or are nested more than {DEEPEST} deep: "
            "save it again as a plain numpy array"
        )
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist() if value.dtype.hasobject else ()
    # By the kinds that occur, so that long lists of numbers cost little.
    if any(issubclass(kind, list | tuple | np.ndarray) for kind in set(map(type, value))):
        for part in value:
            if isinstance(part, list | tuple | np.ndarray):
                _refuse_endless(part, where, level + 1)


def text(value: Any, encoding: str = UTF_8) -> str:
    """A string of Python 3, of Python 2 (bytes), or the digits of a whole number.

    Raises:
        TypeError: it is something else.
        UnicodeDecodeError: bytes of another encoding. Taken for latin1, as others do, they might
            become mojibake that nobody sees.
        ValueError: a number of thousands of digits.
    """
    if isinstance(value, bytes):
        return value.decode(encoding)
    if isinstance(value, str):
        # Lone surrogates cannot be written as UTF-8.
        return str(value).encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise TypeError(f"holds {kind_of(value)}")


def _each(
    values: Iterable[Any],
    read: Callable[[Any], Read],
    *,
    where: str,
    remedy: str,
    ids: Sequence[str] | None = None,
) -> list[Read]:
    """``read`` of every row, its ``TypeError`` and ``ValueError`` with the row and a remedy."""
    out = []
    for row, value in enumerate(values):
        try:
            out.append(read(value))
        except (TypeError, ValueError) as err:
            sample = f"row {row}" if ids is None else f"sample {ids[row]!r}"
            problem = f"{err}{remedy}"
            if isinstance(err, UnicodeDecodeError):
                problem = (
                    f"bytes that are not {err.encoding}: say what they are with --encoding, such "
                    "as latin1 or gbk"
                )
            raise DataError(f"{where}: {sample}: {problem}") from err
    return out


def texts(values: Any, ids: Sequence[str], where: str, encoding: str = UTF_8) -> list[str]:
    """One sentence per row of an array or list.

    Raises:
        DataError: another shape, or a row that is no string; the message names the sample.
    """
    if isinstance(values, np.ndarray):
        if values.size != len(values):
            raise DataError(f"{where} has the shape {values.shape}, not one string per sample")
        values = values.ravel().tolist()
    remedy = ", not one string per sample: write an empty string where nothing is said"
    return _each(values, lambda v: text(v, encoding), ids=ids, where=where, remedy=remedy)


def sentences(values: Any, ids: Sequence[str], where: str, encoding: str = UTF_8) -> list[str]:
    """Rows of words, put together with blanks.

    Raises:
        DataError: words that are no strings, such as the numbers of a word list, or of another
            encoding.
    """

    def joined(words: Any) -> str:
        listed = words.ravel().tolist() if isinstance(words, np.ndarray) else words
        if isinstance(listed, str | bytes):
            listed = [listed]
        if not isinstance(listed, list | tuple) or not all(
            isinstance(word, str | bytes) for word in listed
        ):
            raise TypeError("no strings but numbers of a word list that is not in the file")
        return " ".join(text(word, encoding) for word in listed)

    remedy = ": put the words themselves there (word2id.pickle has them)"
    return _each(values, joined, ids=ids, where=where, remedy=remedy)


def sample_ids(values: Any, where: str, encoding: str = UTF_8) -> list[str]:
    """Ids as strings: numbers by their digits, several parts joined by ``ID_PARTS``.

    Raises:
        DataError: an id is none of these; the message says in which row.
    """

    def joined(value: Any) -> str:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, list | tuple) and value:
            return ID_PARTS.join(map(joined, value))
        if isinstance(value, float | np.floating) and math.isfinite(value):
            return str(int(value)) if value == int(value) else repr(float(value))
        return text(value, encoding)

    listed = values.tolist() if isinstance(values, np.ndarray) else values
    remedy = ": an id is a string, a number or several of them"
    return _each(listed, joined, where=where, remedy=remedy)


def label_numbers(
    values: Any, *, ids: Sequence[str], column: int | None, where: str
) -> NDArray[np.float64]:
    """One number per sample, [N], NaN for None.

    Args:
        values: [N], [N, 1], [N, 1, 1], ... or several per sample, [N, K] and [N, 1, K].
        ids: of the samples.
        column: which of K values, from 0; None if there is but one.
        where: for messages.

    Raises:
        DataError: not numbers, or several per sample and no ``column``; names the sample.
    """
    count = rows(values, where)
    if count != len(ids):
        raise DataError(f"{where} has {count} rows, id has {len(ids)}: one label per sample")
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        array_NK = values.reshape(count, -1)
    else:
        remedy = ", not a number: write sentiments as numbers"
        found = _each(values, _label, ids=ids, where=where, remedy=remedy)
        for sample, numbers in zip(ids, found, strict=True):
            if len(numbers) != len(found[0]):
                raise DataError(
                    f"{where}: sample {sample!r}: has {len(numbers)} labels, the others have "
                    f"{len(found[0])}: give all samples as many"
                )
        array_NK = np.array(found, dtype=np.float64)
    width = array_NK.shape[1]
    if column is None and width > 1:
        raise DataError(
            f"{where} has {width} values per sample, not one number per sample: choose one "
            f"with --label-column 0 to {width - 1} (CMU-MOSEI: 0 is the sentiment)"
        )
    if not 0 <= (column or 0) < width:
        raise DataError(f"{where} has {width} values per sample: no --label-column {column}")
    return np.asarray(array_NK[:, column or 0], dtype=np.float64)


def _label(value: Any) -> list[float]:
    """The numbers of a sample; a ``TypeError`` says what is none."""
    if isinstance(value, np.ndarray | list | tuple):
        return [number for part in value for number in _label(part)]
    if value is None:
        return [math.nan]
    if isinstance(value, bytes | str | int | float | np.number | np.bool_):
        with contextlib.suppress(ValueError, OverflowError):
            return [float(value)]
    # Bounded in length and depth, whatever it is.
    what = refusal(value) or reprlib.repr(value).encode("ascii", "backslashreplace").decode()
    raise TypeError(f"has the label {what}")


class Unpadded:
    """Frames of unequal length, [T, D] per sample, padded with zeros where they are looked at.

    Args:
        samples: one array a sample; all with D features.
    """

    def __init__(self, samples: list[NDArray[Any]]) -> None:
        self._samples = samples
        self.lengths = [len(sample) for sample in samples]
        self.dtype = np.result_type(*samples)
        self.itemsize = self.dtype.itemsize
        self._shape = max(self.lengths), samples[0].shape[1]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, at: int | slice) -> NDArray[Any]:
        """A sample, [T, D], or several, [N, T, D]; T is that of the longest of all."""
        if not isinstance(at, slice):
            sample_TD: NDArray[Any] = self[at : at + 1 or None][0]
            return sample_TD
        part = self._samples[at]
        padded_NTD: NDArray[Any] = np.zeros((len(part), *self._shape), dtype=self.dtype)
        for row, sample in enumerate(part):
            padded_NTD[row, : len(sample)] = sample
        return padded_NTD

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[at] for at in range(len(self)))


def frames(values: Any, *, ids: Sequence[str], where: str) -> Any:
    """Frames as they are, or as ``Unpadded`` if they are a list of samples of unequal length.

    None stands for a sample without frames.

    Raises:
        DataError: samples of different widths, or ragged within; names the first such.
    """
    if isinstance(values, np.ndarray) and not (values.ndim == 1 and values.dtype.hasobject):
        return values
    if not all(v is None or isinstance(v, np.ndarray | list | tuple) for v in values):
        return values
    if len({-1 if v is None else len(v) for v in values}) < 2:
        return values
    samples: list[NDArray[Any]] = []
    width = None
    for sample, value in zip(ids, values, strict=True):
        if value is None or not len(value):
            samples.append(np.zeros((0, 0), np.float32))
            continue
        try:
            samples.append(np.asarray(value))
        except ValueError as err:
            raise DataError(f"{where}: rows of different shapes within sample {sample!r}") from err
        shape = samples[-1].shape
        if len(shape) != 2 or samples[-1].dtype.kind not in "biuf":
            return values  # refused by whoever looks at shapes and numbers
        if width is not None and shape[1] != width:
            raise DataError(
                f"{where}: rows of different shapes: sample {sample!r} has {shape[1]} features per "
                f"frame, those before it {width}"
            )
        width = shape[1]
    return Unpadded([s if len(s) else s.reshape(0, width or 0) for s in samples])
