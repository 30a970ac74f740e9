"""Free memory, also within a container."""

from pathlib import Path

import pytest

from lnln_dist.cost import host


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    return tmp_path


def test_free_memory(machine: Path) -> None:
    (machine / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:  600 kB\n")
    assert host.available_bytes() == 600 * 1024


@pytest.mark.parametrize(("limit", "left"), [("500000", 400_000), ("max", 614_400), ("5", 0)])
def test_a_container_may_leave_less(machine: Path, limit: str, left: int) -> None:
    (machine / "meminfo").write_text("MemAvailable: 600 kB\n")
    (machine / "memory.max").write_text(f"{limit}\n")
    (machine / "memory.current").write_text("100000\n")
    assert host.available_bytes() == left


def test_another_system(machine: Path) -> None:
    assert host.available_bytes() is None
