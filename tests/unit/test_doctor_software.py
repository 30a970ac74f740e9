"""Checks of packages and devices."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lnln_dist.doctor import software
from lnln_dist.doctor.findings import Finding


def checked(name: str, **more: object) -> list[Finding]:
    return [f for f in software.check_software(**more) if f.check == name]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    cards = [SimpleNamespace(name="H100", total_memory=80 * 2**30) for _ in range(2)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: cards[i])
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 3))
    return cards


def test_this_machine_can_train() -> None:
    found = software.check_software()
    assert {"python", "packages", "devices", "gloo", "deepspeed", "ray"} <= {f.check for f in found}
    assert not [f for f in found if f.level == "fail"]
    assert f"torch {torch.__version__}" in next(f.found for f in found if f.check == "packages")


@pytest.mark.usefixtures("gpus")
def test_gpus_are_counted_and_need_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked("devices")[0].found.startswith("2 x H100 80 GiB")
    monkeypatch.setattr(software.distributed, "is_nccl_available", lambda: False)
    (nccl,) = checked("nccl")
    assert nccl.level == "fail"
    monkeypatch.setattr(software.distributed, "is_nccl_available", lambda: True)
    (nccl,) = checked("nccl")
    assert (nccl.level, nccl.found) == ("ok", "2.27.3")


def test_unlike_gpus_are_a_warning(gpus: list[SimpleNamespace]) -> None:
    gpus[1].total_memory = 40 * 2**30
    (devices,) = checked("devices")
    assert devices.level == "warn"
    assert "CUDA_VISIBLE_DEVICES" in devices.remedy


@pytest.mark.parametrize(
    ("driver", "build", "level", "text"),
    [
        ("/usr/bin/nvidia-smi", None, "fail", "built without CUDA"),
        (None, "13.0", "warn", "sees no GPU"),
        (None, None, "ok", "CPU only"),
    ],
)
def test_no_gpu(
    monkeypatch: pytest.MonkeyPatch, driver: str | None, build: str | None, level: str, text: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", build)
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda tool: driver if tool == "nvidia-smi" else which(tool)
    )
    (devices,) = checked("devices")
    assert devices.level == level
    assert text in devices.found


def test_an_extra_fails_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = software.importlib.util.find_spec
    monkeypatch.setattr(
        software.importlib.util, "find_spec", lambda n: None if n == "deepspeed" else find(n)
    )
    (absent,) = checked("deepspeed")
    assert (absent.level, absent.found[:13]) == ("ok", "not installed")
    (missed,) = checked("deepspeed", needed=frozenset({"deepspeed"}))
    assert missed.level == "fail"
    assert missed.remedy.endswith("[deepspeed]'")
    assert not checked("deepspeed ops")


def test_a_stale_lock_of_a_compile_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    lock = tmp_path / "py311_cpu" / "shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert software.stale_locks() == []
    os.utime(lock, (1000, 1000))
    (found,) = software.stale_locks(now=1000 + 3600)
    assert found.level == "warn"
    assert f"{lock} is 60 minutes old" in found.found
    assert found.remedy.endswith(f"rm {lock}")
    pytest.importorskip("deepspeed", reason="without it there is nothing to compile")
    assert any(f.remedy == found.remedy for f in software.check_software())
