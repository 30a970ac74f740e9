"""Nothing of a pickle runs; plain data comes through whatever wrote it."""

import io
import os
import pickle
import random
import resource
import subprocess
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from types import SimpleNamespace

import feature_files
import numpy as np
import pytest

from lnln_dist.data.unpickle import Refused, load_plain, refusal
from lnln_dist.errors import DataError


def load(data: bytes):
    return load_plain(io.BufferedReader(io.BytesIO(data)), name="f.pkl")


def equal(a, b):
    if isinstance(b, np.ndarray):
        same_type = a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")
        return np.array_equal(a, b) and same_type
    if isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in b)
    return a == b and type(a) is type(b)


PLAIN = {
    "floats": np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4),
    "large": np.arange(300_000, dtype=np.float64),
    "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "big endian": np.arange(5, dtype=">i4"),
    "half": np.ones(3, np.float16),
    "flags": np.array([True, False]),
    "strings": np.array(["a", "longer", "\u4f60\u597d"]),
    "bytes": np.array([b"ab", b"c"]),
    "objects": np.array(["x", None, 3], dtype=object),
    "empty": np.zeros((0, 4), np.float32),
    "nought": np.array(3.5),
    "scalar": np.float32(0.25),
    "name": np.str_("film"),
    "list": [1, 2.5, None, True, "text", b"raw"],
    "tuple": (1, (2, 3)),
    "set": {1, 2},
    "big text": "t" * 100_000,
    "no bytes": b"",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(protocol):
    assert equal(load(pickle.dumps(PLAIN, protocol=protocol)), PLAIN)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_same_array_twice_is_found_again(protocol):
    array = np.arange(400_000.0)
    first, second = load(pickle.dumps([array, array], protocol=protocol))
    assert first is second


def test_ordered_dicts_and_old_module_names():
    data = pickle.dumps(OrderedDict(a=np.arange(3)), protocol=2)
    assert equal(load(data), {"a": np.arange(3)})
    assert b"numpy._core" in data
    assert equal(load(data.replace(b"numpy._core", b"numpy.core")), {"a": np.arange(3)})


def test_python2_files_come_as_bytes(tmp_path):
    path = feature_files.write_python2(tmp_path / "f", {"x": np.arange(9.0), "t": "caf\u00e9"})
    assert equal(load(path.read_bytes()), {b"x": np.arange(9.0), b"t": "caf\u00e9".encode()})


class Runs:
    """Unpickling this by the usual means makes a file."""

    def __init__(self, call, *arguments):
        self.made = (call, arguments)

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize(
    ("call", "arguments", "named"),
    [
        (os.system, ("touch PATH",), "posix.system"),
        (eval, ("open('PATH', 'w')",), "builtins.eval"),
        (getattr, ("", "join"), "builtins.getattr"),
        (__import__, ("os",), "builtins.__import__"),
        (np.load, ("PATH",), "numpy.load"),
        (subprocess.Popen, (["touch", "PATH"],), "subprocess.Popen"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_by_name(tmp_path, call, arguments, named, protocol):
    target = tmp_path / "ran"
    parts = [a.replace("PATH", str(target)) if isinstance(a, str) else a for a in arguments]
    data = pickle.dumps({"train": Runs(call, *parts)}, protocol=protocol)
    found = load(data)["train"]
    assert refusal(found).endswith(named.split(".")[-1])
    assert not target.exists()


@pytest.mark.parametrize("module", ["numpy", "numpy._core.multiarray", "builtins"])
@pytest.mark.parametrize("name", ["fromfile", "memmap", "exec", "ndarray.tofile", "object"])
def test_nothing_else_of_allowed_modules(module, name):
    data = (
        pickle.PROTO
        + b"\x04"
        + b"".join(pickle.SHORT_BINUNICODE + bytes([len(t)]) + t.encode() for t in (module, name))
    )
    assert refusal(load(data + pickle.STACK_GLOBAL + pickle.STOP)) == f"{module}.{name}"


def test_references_to_outside_are_refused():
    with pytest.raises(DataError, match="not a pickle of plain data"):
        load(b"\x80\x04\x8c\x03abcQ.")


def test_what_is_refused_takes_everything_and_does_nothing():
    """Calls, items, attributes: whatever such objects are rebuilt with."""
    odd = [deque([1, 2]), defaultdict(list, a=[1]), Counter("ab"), SimpleNamespace(x=1), Path("x")]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        *found, last = load(pickle.dumps([*odd, 5], protocol=protocol))
        assert all(isinstance(value, Refused) for value in found)
        assert last == 5


class Forged:
    """Reduces to an array, or dtype, with a state of the forger's choice."""

    def __init__(self, reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def forged_array(dtype, shape, data):
    function, arguments, _ = np.zeros(1).__reduce__()
    return Forged((function, arguments, (1, shape, dtype, False, data)))


UNFLAGGED = Forged((np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        # Raw bytes as pointers to objects: numpy itself would follow them.
        (forged_array(UNFLAGGED, (1,), b"\x01" * 8), "objects without its objects"),
        (forged_array(np.dtype("O"), (2,), [1]), "objects without its objects"),
        (Forged((np._core.multiarray.scalar, (UNFLAGGED, b"\x01" * 8))), "without its bytes"),
        (
            Forged((np._core.numeric._frombuffer, (b"\x01" * 8, UNFLAGGED, (1,), "C"))),
            "objects over raw bytes",
        ),
        (forged_array(np.dtype("f4"), (1000,), b"\0" * 8), "size is not that of its data"),
        (forged_array(np.dtype("f4"), (-1,), b"\0" * 8), "without a shape"),
        (forged_array(np.dtype("f4"), (2.0,), b"\0" * 8), "without a shape"),
        (forged_array(np.dtype([("a", "f4")]), (1,), b"\0" * 4), "an array of records"),
        (forged_array(np.dtype("c8"), (1,), b"\0" * 8), "an array of type 'c8'"),
        (forged_array(np.dtype("M8[s]"), (1,), b"\0" * 8), "an array of type 'M8'"),
        (forged_array("f4", (2,), b"\0" * 8), "without a type"),
        (Forged((np.dtype, ("f4",), {"real": 1})), "not a pickle"),
        (Forged((np.ndarray, ((3,),))), "not a pickle"),
    ],
)
def test_forged_arrays_are_refused(value, what):
    data = pickle.dumps([value, np.arange(3)])
    if what == "not a pickle":
        with pytest.raises(DataError, match=r"^f\.pkl: not a pickle"):
            load(data)
    else:
        found, after = load(data)
        assert what in refusal(found)
        assert after.tolist() == [0, 1, 2]


def test_setting_attributes_of_allowed_names_is_refused():
    for module, name in (("numpy", "dtype"), ("_codecs", "encode"), ("builtins", "set")):
        data = f"c{module}\n{name}\n(S'x'\nI1\ndb.".encode()
        with pytest.raises(DataError):
            load(b"\x80\x02" + data)
    assert equal(load(pickle.dumps(PLAIN)), PLAIN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"hello world\n",
        b"\x1f\x8b\x08",
        b"\x80\x63.",
        b"\x80\x04",
        b"\x80\x04.",
    ],
)
def test_not_a_pickle(data):
    with pytest.raises(DataError, match=r"^f\.pkl: not a pickle") as caught:
        load(data)
    assert "\n" not in str(caught.value)


def test_a_claim_of_more_memory_than_there_is():
    with pytest.raises(DataError):
        load(b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"abc.")


def test_deep_nesting_is_no_problem():
    nested = load(b"\x80\x04" + b")" + b"\x85" * 100_000 + b".")
    for _ in range(100_000):
        (nested,) = nested
    assert nested == ()


@pytest.fixture
def little_memory():
    """A damaged file may claim gigabytes; they must be refused, not handed out."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/status").read_text()
    used = next(int(line.split()[1]) for line in status.splitlines() if "VmSize" in line)
    resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_truncated_and_mutated_files_raise_only_data_errors(protocol, little_memory):
    content = {"a": np.arange(20.0), "b": ["x", "y"], "c": np.array(["u", None], dtype=object)}
    data = pickle.dumps(content, protocol=protocol)
    rng = random.Random(protocol)
    failures = 0
    for _ in range(1500):
        damaged = bytearray(data[: rng.randrange(1, len(data) + 1)])
        for _ in range(rng.randrange(3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            load(bytes(damaged))
        except DataError:
            failures += 1
    assert failures > 1000


def test_large_arrays_are_not_copied():
    """The array's memory is the bytes object read from the file."""
    array = load(pickle.dumps(np.arange(1_000_000.0), protocol=4))
    assert isinstance(array.base, bytes)
