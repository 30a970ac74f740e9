"""Unpickling that can only make plain data: an allow-list of globals, none of them numpy's own.

A pickle is a program: it names Python callables and calls them. Here every name it may use is
answered by a small stand-in of this file, so a hostile file can do no more than fail. Even
``numpy.ndarray`` and ``numpy.dtype`` are stand-ins: numpy trusts the state it is given, and a
forged one (say an object array over raw bytes) would let a file invent pointers.

What a file holds beside that becomes a ``Refused``: an object that does nothing, so that a field
which nobody reads cannot keep a file from being read. Readers ask ``refusal`` about what they use.
"""

import contextlib
import io
import itertools
import math
import pickle
import re
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lnln_dist.data.kinds import damage, foreign
from lnln_dist.errors import DataError

_KIND = re.compile(r"([biufSUO?])(\d*)")
_BIG = 1 << 20  # bytes from which a memo entry is worth forgetting
_ARRAY = object()  # what a file gets for the name numpy.ndarray: good for _reconstruct only


class RefusedError(Exception):
    """The file asks for something that is not plain data; the message says what."""


class Refused:
    """Stands where a file holds what is refused: takes whatever is done to it and does nothing."""

    what = "something refused"

    def __new__(cls, *_: object, **__: object) -> "Refused":
        """Forgets its arguments."""
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def _ignore(self, *_: object, **__: object) -> None: ...

    __setstate__ = __setitem__ = append = extend = add = _ignore


def _refused(what: str) -> type[Refused]:
    return type("Refused", (Refused,), {"what": what})


def refusal(value: object) -> str | None:
    """What was refused about a value out of a file; None if nothing was."""
    if isinstance(value, Refused) or (isinstance(value, type) and issubclass(value, Refused)):
        return value.what
    return value.refused if isinstance(value, _Array) else None


def kind_of(value: object) -> str:
    """What a value is, for a message: what was refused about it, or the name of its type."""
    name = "ndarray" if isinstance(value, np.ndarray) else type(value).__name__
    return refusal(value) or f"a {name}"


def shown(name: str) -> str:
    """A name out of a file for a message: as it is if it is harmless, else escaped and cut."""
    return name if re.fullmatch(r"[\w.$-]{1,60}", name, re.ASCII) else f"{name[:60]!a}"


class _Dtype:
    """A dtype in the making: numpy's constructor arguments, later its state."""

    __slots__ = ("order", "text")

    def __init__(self, text: str | bytes, *_: object) -> None:
        self.text = text.decode("latin1") if isinstance(text, bytes) else text
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *structure = state[:5]
        self.order = order.decode("latin1") if isinstance(order, bytes) else order
        if any(part is not None for part in structure):
            self.text = "records"

    def real(self) -> np.dtype[Any]:
        """The numpy dtype meant.

        Raises:
            RefusedError: not a boolean, integer, float, string or object type.
        """
        if self.text == "records":
            raise RefusedError("an array of records")
        found = _KIND.fullmatch(self.text)
        if found is None or self.order not in ("<", ">", "|", "="):
            raise RefusedError(f"an array of type {self.text!r}")
        if found[1] == "O":
            return np.dtype(object)
        return np.dtype(("=" if self.order == "|" else self.order) + self.text)


class _Array(np.ndarray[Any, Any]):
    """An array whose pickled state is checked before numpy sees it.

    It stays empty, and says why, if its state is refused.
    """

    refused: str | None = None

    def __setstate__(self, state: Any) -> None:
        try:
            super().__setstate__(cast("Any", _checked(state)))
        except RefusedError as err:
            self.refused = str(err)


def _checked(state: Any) -> tuple[Any, ...]:
    _, shape, dtype, fortran, data = state
    real = _real(dtype)
    count = math.prod(_shape(shape))
    if real.hasobject:
        if not isinstance(data, list) or len(data) != count:
            raise RefusedError("an array of objects without its objects")
    elif not isinstance(data, bytes) or len(data) != count * real.itemsize:
        raise RefusedError("an array whose size is not that of its data")
    # numpy keeps large ``bytes`` as the array's memory: no copy.
    return 1, shape, real, bool(fortran), data


def _real(dtype: object) -> np.dtype[Any]:
    if not isinstance(dtype, _Dtype):
        raise RefusedError("an array without a type")
    return dtype.real()


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise RefusedError("an array without a shape")
    return shape


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not _ARRAY:
        raise RefusedError("an array of a class of its own")
    return np.ndarray.__new__(_Array, (0,), np.dtype("i1"))


def _frombuffer(
    data: bytes | bytearray, dtype: object, shape: Any, order: str = "C", *_: object
) -> NDArray[Any]:
    real = _real(dtype)
    if real.hasobject or order not in ("C", "F") or not isinstance(data, bytes | bytearray):
        raise RefusedError("an array of objects over raw bytes")
    return np.frombuffer(data, dtype=real).reshape(_shape(shape), order=order)  # type: ignore[call-overload, no-any-return]


def _scalar(dtype: object, data: Any = b"") -> Any:
    real = _real(dtype)
    if real.hasobject or not isinstance(data, bytes) or len(data) != real.itemsize:
        raise RefusedError("a number without its bytes")
    return np.frombuffer(data, dtype=real)[0] if data else real.type()


def _bytes(data: Any = b"", *_: object) -> bytes:
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise RefusedError("bytes made of something else")
    return bytes(data)


def _encode(text: str, codec: str = "latin1") -> bytes:
    if codec.lower().replace("-", "").replace("_", "") not in ("latin1", "iso88591"):
        raise RefusedError(f"bytes in the encoding {codec!r}")
    return text.encode("latin1")


def _mapping(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


class _StandIn:
    """A callable that the file cannot alter, whose refusals become a ``Refused``.

    Pickles may set attributes of what they get.
    """

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._function(*arguments)
        except RefusedError as err:
            return _refused(str(err))()

    def __setstate__(self, state: object) -> None:
        raise RefusedError("a change of one of the reader's own functions")


def _allowed() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("numpy", "dtype"): _StandIn(_Dtype),
        ("numpy", "ndarray"): _ARRAY,
        ("collections", "OrderedDict"): _StandIn(_mapping),
        ("_codecs", "encode"): _StandIn(_encode),
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = _StandIn(_reconstruct)
        table[f"{core}.multiarray", "scalar"] = _StandIn(_scalar)
        table[f"{core}.numeric", "_frombuffer"] = _StandIn(_frombuffer)
    for builtins in ("builtins", "__builtin__"):
        for kind in (set, frozenset, complex, slice, range):
            table[builtins, kind.__name__] = kind
        for name in ("bytes", "bytearray"):
            table[builtins, name] = _StandIn(_bytes)
    return table


_ALLOWED = _allowed()


class _Guard:
    """What both unpicklers share: only stand-ins, and nothing outside the file."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a global; for one that is not on the list, one that does nothing."""
        return _ALLOWED.get((module, name)) or _refused(shown(f"{module}.{name}"))

    def persistent_load(self, pid: object) -> Any:
        """Refuses references to objects outside the file.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"not a pickle of plain data (it refers to {pid!r:.40}, outside itself): save it again "
            "with plain numpy arrays, lists and strings only"
        )


class _FastUnpickler(_Guard, pickle.Unpickler):
    """For protocol 3 and later."""


class _SparingUnpickler(_Guard, pickle._Unpickler):
    """For protocols before 3, where Python 3 kept the bytes of arrays as text.

    Written in Python because its memo can be edited: the memo would hold all that text, which
    nothing refers to again, until the end, and every array would be in memory twice.
    """

    memo: dict[int, Any]

    def find_class(self, module: str, name: str) -> Any:
        """As above, with an ``encode`` that forgets the text it was given."""
        found = super().find_class(module, name)
        return _StandIn(self._encode) if (module, name) == ("_codecs", "encode") else found

    def _encode(self, text: str, codec: str = "latin1") -> bytes:
        data = _encode(text, codec)
        if len(data) >= _BIG:
            # The text and the arguments it came in were remembered just now.
            for key in list(itertools.islice(reversed(self.memo), 4)):
                value = self.memo[key]
                if value is text or (isinstance(value, tuple) and text in value):
                    del self.memo[key]
        return data


def load_plain(file: io.BufferedReader, *, name: str) -> Any:
    """Loads numbers, strings, lists, dicts and arrays of a pickle without running anything of it.

    Strings of Python 2 arrive as ``bytes``: that keeps their arrays from being copied through
    text, and leaves the reader to decode names and sentences.

    Args:
        file: the opened pickle.
        name: of the file, for messages.

    Returns:
        Its content, with a ``Refused`` wherever it holds something else.

    Raises:
        DataError: it is not a pickle, is damaged, or does not fit into memory.
    """
    try:
        head = file.peek()
        if kind := foreign(head):
            raise DataError(f"not a pickle but {kind}")
        late = head[:1] == pickle.PROTO and head[1:2] > b"\x02"
        return (_FastUnpickler if late else _SparingUnpickler)(file, encoding="bytes").load()
    except DataError as err:
        raise DataError(f"{name}: {err}") from None
    except MemoryError as err:
        raise DataError(
            f"{name}: it does not fit into memory, or is damaged and claims to be larger than it is"
        ) from err
    except OSError as err:
        raise DataError(f"{name}: cannot be read ({err.strerror or err})") from err
    # A damaged pickle can raise nearly anything while it is put together.
    except Exception as err:
        raise DataError(f"{name}: {_explain(file, head, err)}") from err


def _explain(file: io.BufferedReader, head: bytes, err: Exception) -> str:
    why = (str(err).strip().splitlines() or [type(err).__name__])[0]
    ended = False
    with contextlib.suppress(OSError, MemoryError):
        ended = not file.read(1)
    if kind := damage(head, why, ended=ended):
        return f"not a pickle but {kind}"
    why = why if why.isprintable() else ascii(why)[1:-1]
    return f"not a pickle, or a damaged or truncated one ({why:.80}): copy it again"
