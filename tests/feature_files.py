"""Small MMSA feature files for tests, and a pickler that writes as Python 2 did."""

import pickle
import struct
import types
from pathlib import Path
from typing import ClassVar

import numpy as np

from lnln_dist.data.convert import prepare
from lnln_dist.data.schema import SPLITS
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.verify import verify

SIZES = {"train": 12, "valid": 5, "test": 7}
CLS, SEP = 101, 102


def feature_split(name, n, *, seed=0, text=10, audio=9, vision=6, widths=(3, 4)):
    """One sound split: unaligned, float32, lengths as lists."""
    rng = np.random.default_rng([seed, n])
    split = {
        "id": [f"{name}{i // 3}$_${i}" for i in range(n)],
        "raw_text": np.array([f"a good film number {i}" for i in range(n)]),
        "regression_labels": rng.uniform(-1, 1, n).round(1).astype(np.float32),
        "annotations": ["Neutral"] * n,
    }
    lengths = rng.integers(2, text + 1, n)
    lengths[0] = text
    valid = np.arange(text) < lengths[:, None]
    ids = np.where(valid, rng.integers(1000, 2000, (n, text)), 0)
    ids[:, 0], ids[np.arange(n), lengths - 1] = CLS, SEP
    split["text_bert"] = np.stack([ids, valid, np.zeros_like(ids)], axis=1).astype(np.float32)
    split["text"] = rng.normal(size=(n, text, 8)).astype(np.float32)
    for field, places, width in (("audio", audio, widths[0]), ("vision", vision, widths[1])):
        lengths = rng.integers(1, places + 1, n)
        frames = rng.normal(size=(n, places, width)).astype(np.float32)
        frames[np.arange(places) >= lengths[:, None]] = 0
        split[field], split[f"{field}_lengths"] = frames, lengths.tolist()
    return split


def feature_file(**choices):
    """A sound file: train, valid, test and a top-level config."""
    content = {name: feature_split(name, n, **choices) for name, n in SIZES.items()}
    return {**content, "config": {"seed": 1}}


def write(path: Path, content, protocol=4) -> Path:
    """Pickles ``content``; returns ``path``."""
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


class Python2Pickler(pickle._Pickler):
    """Writes byte strings and numpy's old module names, as Python 2 did."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _save_string(self, obj):
        data = obj.encode() if isinstance(obj, str) else obj
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(obj)

    def _save_name(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch[bytes] = dispatch[str] = _save_string
    for _kind in (type, types.FunctionType, types.BuiltinFunctionType):
        dispatch[_kind] = _save_name


def write_python2(path: Path, content) -> Path:
    """Pickles ``content`` as Python 2 did; returns ``path``."""
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(content)
    return path


def converted(tmp_path, content, *, dataset="mosi", **choices):
    """The index and the opened data of a file written and prepared under ``tmp_path``."""
    source = write(tmp_path / "f.pkl", content)
    index = prepare(source, tmp_path / "out", dataset=dataset, **choices)
    assert verify(tmp_path / "out") == []
    return index, open_dataset(tmp_path / "out")


def check(dataset, content):
    """Compares every sample with the plain fields of the file."""
    for name in SPLITS:
        split, given = dataset.split(name), content[name]
        assert split.ids == given["id"]
        assert np.array_equal(split.labels, np.asarray(given["regression_labels"], np.float32))
        for row in range(len(split)):
            ids, mask, segments = np.asarray(given["text_bert"])[row]
            assert np.array_equal(split.tokens(row), ids[mask == 1])
            assert np.array_equal(split.segments(row), segments[mask == 1])
            assert split.raw_text(row) == given["raw_text"][row]
            for m in ("audio", "vision"):
                length = int(np.asarray(given[f"{m}_lengths"])[row])
                expected = np.asarray(given[m], np.float32)[row, :length]
                assert np.array_equal(split.frames(m, row), expected)
                assert split.lengths[m][row] == length
