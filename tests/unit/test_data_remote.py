"""Prepared data behind a URI: copied once, whole or not at all, gone on with, checked."""

import threading

import feature_files
import fsspec
import pytest

from lnln_dist.data import remote
from lnln_dist.data.convert import prepare
from lnln_dist.data.remote import on_this_machine
from lnln_dist.data.schema import INDEX
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.verify import verify
from lnln_dist.errors import DataError, TransientError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    source = feature_files.write(folder / "f.pkl", feature_files.feature_file())
    prepare(source, folder / "data", dataset="mosi", tokenizer="corpus")
    return folder / "data"


@pytest.fixture
def stored(prepared, tmp_path, monkeypatch):
    """The data in a file system in memory; the cache in a folder of the test."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.put(str(prepared), "/bucket/data", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


URI = "memory://bucket/data"


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_local_path_is_left_alone(tmp_path):
    assert on_this_machine(tmp_path / "x") == tmp_path / "x"
    assert on_this_machine(f"file://{tmp_path}/x") == tmp_path / "x"


def test_the_copy_is_the_data(prepared, stored):
    dataset = open_dataset(URI)
    assert files(dataset.folder) == files(prepared)
    assert not verify(URI)
    assert len(dataset.split("train")) == len(open_dataset(prepared).split("train"))


def test_it_is_copied_once(stored, monkeypatch):
    first = on_this_machine(URI)
    asked = []
    monkeypatch.setattr(type(stored), "size", lambda self, path: asked.append(path))
    assert on_this_machine(f"{URI}/") == first
    assert not asked


def test_other_data_at_the_same_address_is_another_copy(stored, tmp_path):
    first = on_this_machine(URI)
    changed = feature_files.feature_file(seed=1)
    source = feature_files.write(tmp_path / "f.pkl", changed)
    prepare(source, tmp_path / "other", dataset="mosi", tokenizer="corpus")
    stored.rm("/bucket/data", recursive=True)
    stored.put(str(tmp_path / "other"), "/bucket/data", recursive=True)
    second = on_this_machine(URI)
    assert second != first
    assert files(second) == files(tmp_path / "other")


def test_many_at_once_copy_once(stored, monkeypatch):
    copies = []
    whole = remote._copy

    def count(*arguments):
        copies.append(arguments)
        whole(*arguments)

    monkeypatch.setattr(remote, "_copy", count)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(on_this_machine(URI))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(found)) == 1
    assert len(found) == 6
    assert len(copies) == 1


@pytest.fixture
def cut(stored, monkeypatch):
    """Ends every transfer of a shard after 1000 bytes, as often as told."""
    left = {"n": 0}
    asked = []
    whole = type(stored).cat_file

    def cat_file(self, path, start=None, end=None, **rest):
        if path.endswith(".arrow"):
            asked.append((path, start))
            if left["n"] > 0:
                if start and start % 1000 == 0:
                    left["n"] -= 1
                    raise ConnectionError("reset by peer")
                end = start + 1000
        return whole(self, path, start=start, end=end, **rest)

    monkeypatch.setattr(type(stored), "cat_file", cat_file)
    return left, asked


def test_a_transfer_that_is_cut_goes_on(prepared, stored, cut):
    left, asked = cut
    left["n"] = 3
    assert files(on_this_machine(URI)) == files(prepared)
    first = asked[0][0]
    starts = [start for path, start in asked if path == first]
    assert starts[:2] == [0, 1000]
    assert starts.count(0) == 1  # nothing is fetched twice


def test_one_that_is_always_cut_keeps_what_it_has(prepared, stored, cut):
    left, asked = cut
    left["n"] = 10**6
    with pytest.raises(TransientError, match=r"memory://bucket/data/\S+: cannot be read \(reset"):
        on_this_machine(URI)
    left["n"] = 0
    asked.clear()
    assert files(on_this_machine(URI)) == files(prepared)
    assert asked[0][1] == 1000


@pytest.mark.parametrize("name", ["train-00000.arrow", "tokenizer/tokenizer.json"])
def test_damage_on_the_way_is_found(stored, name):
    content = bytearray(stored.cat_file(f"/bucket/data/{name}"))
    content[len(content) // 2] ^= 1
    stored.pipe_file(f"/bucket/data/{name}", bytes(content))
    with pytest.raises(DataError, match=rf"data/{name}: damaged"):
        on_this_machine(URI)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("memory://bucket/nothing", r"bucket/nothing/index\.json: no such file: give the URI"),
        ("nosuch://bucket/x", r"nosuch://bucket/x: cannot be opened \(.*nosuch"),
    ],
)
def test_what_cannot_be_opened(stored, uri, words):
    with pytest.raises((DataError, TransientError), match=words):
        on_this_machine(uri)


def test_an_index_that_is_none(stored, tmp_path):
    stored.pipe_file(f"/bucket/data/{INDEX}", b"<html>")
    with pytest.raises(DataError, match=r"^memory://bucket/data: index\.json: not JSON"):
        on_this_machine(URI)
    assert not list((tmp_path / "cache" / "shards").glob("*.part"))


def test_from_a_server_that_speaks_s3(prepared, tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.mkdir("bucket")
        system.put(str(prepared), "bucket/data", recursive=True)
        assert files(on_this_machine("s3://bucket/data")) == files(prepared)
        with pytest.raises(DataError, match=r"s3://bucket/none/index\.json: no such file"):
            on_this_machine("s3://bucket/none")
    finally:
        server.stop()
        fsspec.filesystem("s3").clear_instance_cache()


def test_no_room(stored, monkeypatch):
    usage = remote.shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"do not fit into .* set LNLN_CACHE"):
        on_this_machine(URI)
