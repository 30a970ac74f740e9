"""Files that are no pickles are named for what they are, with the remedy."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile

import feature_files
import numpy as np
import pytest
import torch

from lnln_dist.data.mmsa import read_pickle
from lnln_dist.errors import DataError

PICKLE = pickle.dumps(feature_files.feature_file(), protocol=4)


def zipped(data=PICKLE):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("folder/f.pkl", data)
    return out.getvalue()


def tarred(data=PICKLE):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("f.pkl")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def saved(write, *arguments, **choices):
    out = io.BytesIO()
    write(*(out if a is Ellipsis else a for a in arguments), **choices)
    return out.getvalue()


def as_text(protocol):
    """A pickle that went through a program which ends lines with CR and LF."""
    data = pickle.dumps(feature_files.feature_file(), protocol=protocol)
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 554181170\n"
KINDS = {
    "gzip": (gzip.compress(PICKLE), r"a gzip file: unpack it \(gunzip\)"),
    "bzip2": (bz2.compress(PICKLE), r"a bzip2 file: unpack it \(bunzip2\)"),
    "xz": (lzma.compress(PICKLE), r"an xz file: unpack it \(unxz\)"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(range(100)), r"a 7z archive: unpack it \(7z x\)"),
    "zip": (zipped(), "a zip archive: unpack it"),
    "tar": (tarred(), "a tar archive: unpack it"),
    "npz": (saved(np.savez, ..., a=np.ones(3)), r"numpy archive \(\.npz\): load it with numpy"),
    "npy": (saved(np.save, ..., np.ones(3)), r"single numpy array \(\.npy\)"),
    "pt": (
        saved(torch.save, {"a": torch.ones(3)}, ...),
        r"a file of torch\.save \(\.pt\): load it with torch\.load .*x\.numpy",
    ),
    "old pt": (
        saved(torch.save, {"a": torch.ones(3)}, ..., _use_new_zipfile_serialization=False),
        r"a file of torch\.save \(\.pt\)",
    ),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "csv": (b"video,clip,text,label\r\na,1,good,1.5\r\nb,2,bad,-1\r\nc,3,d,0\r\n", "a text file"),
    "words": ("Caf\u00e9, \u4f60\u597d\n".encode() * 90, "a text file"),
    "json": (b'{"train": {}}', "a JSON file"),
    "web page": (b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>", "a web page .*again"),
    "git lfs": (POINTER, "a Git LFS pointer, .*`git lfs pull`"),
    "zeros": (bytes(5000), "a file of zeros, so an unfinished download"),
    "zeros at the end": (
        PICKLE[: len(PICKLE) // 2] + bytes(len(PICKLE)),
        "zeros where data should be, so an unfinished download",
    ),
    "empty": (b"", "an empty file"),
    "line ends, protocol 0": (as_text(0), "line ends were changed to CRLF: copy it .*binary mode"),
    "line ends, protocol 2": (as_text(2), "line ends were changed to CRLF"),
    "line ends, protocol 4": (as_text(4), "line ends were changed to CRLF"),
    "read as UTF-8": (
        PICKLE.decode("utf-8", "replace").encode(),
        "saved as text: .*bytes are lost",
    ),
    "half": (PICKLE[: len(PICKLE) // 2], "truncated: copy it again"),
    "a few bytes": (PICKLE[:3], "truncated: copy it again"),
    "half, protocol 2": (pickle.dumps({"a": np.arange(99.0)}, 2)[:400], "truncated"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_and_its_remedy_in_one_line(tmp_path, name):
    data, message = KINDS[name]
    path = tmp_path / "f.pkl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"f.pkl: not a pickle but .*{message}") as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "data", [b"junk\xff\xfe", b"video,clip\xff", b"a" * 510 + b"\xc3\x28" + b"b"]
)
def test_bytes_that_are_no_text_are_not_called_text(tmp_path, data):
    path = tmp_path / "f.pkl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"f\.pkl: not a pickle") as caught:
        read_pickle(path)
    assert "text file" not in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_none_of_these(tmp_path, protocol):
    content = feature_files.feature_file()
    read_pickle(feature_files.write(tmp_path / "f.pkl", content, protocol=protocol))
