"""Where feature files are read from."""

import hashlib
import io
from pathlib import Path

import fsspec
import pytest

from lnln_dist.data.source import HashedFile, local_only, local_path, open_source
from lnln_dist.errors import DataError


def test_paths_and_uris():
    assert local_path("a/b.pkl") == Path("a/b.pkl")
    assert local_path("file:///a/b%20c.pkl") == Path("/a/b c.pkl")
    assert local_path("~/x") == Path.home() / "x"
    assert local_path("s3://bucket/x") is None
    with pytest.raises(DataError, match=r"^s3://b/x: the shards must be on this machine .*copy it"):
        local_only("s3://b/x", what="the shards")


def test_the_hash_covers_every_byte_once():
    data = bytes(range(256)) * 5000
    hashed = HashedFile(io.BytesIO(data))
    reader = io.BufferedReader(hashed, 100)
    assert reader.read(1000) == data[:1000]
    assert hashed.finish() == hashlib.sha256(data).hexdigest()
    assert hashed.size == len(data)


def test_local_and_remote_files_open(tmp_path):
    path = tmp_path / "f.pkl"
    path.write_bytes(b"abc")
    with fsspec.open("memory://folder/f.pkl", "wb") as file:
        file.write(b"abc")
    for source in (path, str(path), path.as_uri(), "memory://folder/f.pkl"):
        with open_source(source) as file:
            assert file.read() == b"abc"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("PATH/none.pkl", "no such file"),
        ("memory://none.pkl", "no such file"),
        ("PATH", "a folder"),
        ("nosuch://x/y.pkl", "cannot be opened .*copy it to this machine"),
    ],
)
def test_what_cannot_be_opened(tmp_path, source, message):
    with (
        pytest.raises(DataError, match=message),
        open_source(source.replace("PATH", str(tmp_path))),
    ):
        pass
