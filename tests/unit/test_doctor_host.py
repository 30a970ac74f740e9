"""Checks of one host."""

import os
import resource
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from lnln_dist.doctor import host

MIB, GIB = 2**20, 2**30


def test_this_host_can_run_something_small(tmp_path: Path) -> None:
    found = host.check_host(workers=0, folder=tmp_path, disk_bytes=MIB, environment={})
    assert not [f for f in found if f.level == "fail"]
    assert {f.check for f in found} == {
        "memory", "shared memory", "disk", "port", "host name", "open files"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "workers", "level"),
    [(64 * MIB, 4, "fail"), (512 * MIB, 4, "warn"), (8 * GIB, 4, "ok"), (64 * MIB, 0, "ok")],
)
def test_shared_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, workers: int, level: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=size))
    found = host.check_shared_memory(tmp_path, workers=workers)
    assert found.level == level
    assert level == "ok" or "--shm-size" in found.remedy
    assert host.check_shared_memory(tmp_path / "none", workers=4).level == "ok"


def test_disk_is_that_of_the_nearest_folder_that_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def usage(place: Path) -> SimpleNamespace:
        asked.append(place)
        return SimpleNamespace(free=2 * GIB)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert host.check_disk(tmp_path / "runs" / "mosi", GIB).level == "ok"
    assert asked == [tmp_path]
    short = host.check_disk(tmp_path, 3 * GIB)
    assert (short.level, "2.0 GiB free" in short.found) == ("fail", True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written" in host.check_disk(tmp_path, 1).found


def test_a_taken_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        busy = host.check_port({"MASTER_PORT": port})
        assert (busy.level, port in busy.found) == ("warn", True)
        # Within a launch it is the launch itself that listens there.
        assert host.check_port({"MASTER_PORT": port, "WORLD_SIZE": "2"}).level == "ok"
    assert host.check_port({"MASTER_PORT": port}).level == "ok"


def test_the_name_matters_between_hosts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyname", lambda _: "127.0.1.1")
    assert host.check_name({}).level == "ok"
    several = {"GROUP_WORLD_SIZE": "2"}
    lonely = host.check_name(several)
    assert (lonely.level, "GLOO_SOCKET_IFNAME" in lonely.remedy) == ("warn", True)
    loopback = host.check_name(several | {"GLOO_SOCKET_IFNAME": "lo"})
    assert (loopback.level, "/etc/hosts" in loopback.remedy) == ("warn", True)
    assert host.check_name({"GLOO_SOCKET_IFNAME": "lo"}).level == "ok"
    assert host.check_name(several | {"GLOO_SOCKET_IFNAME": "eth77"}).level == "fail"
    monkeypatch.setattr(socket, "gethostbyname", lambda _: "10.0.0.7")
    assert host.check_name(several).level == "ok"

    def unknown(_: str) -> str:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    assert "no address" in host.check_name(several).found


@pytest.mark.parametrize(("limit", "level"), [(256, "warn"), (65536, "ok"), (-1, "ok")])
def test_open_files(monkeypatch: pytest.MonkeyPatch, limit: int, level: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert host.check_open_files().level == level
