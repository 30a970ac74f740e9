"""How many trials a cluster holds."""

import os
from pathlib import Path

import pytest

from lnln_dist.errors import UserError
from lnln_dist.sweep.preflight import capacity, check, check_launch, usable_cores
from lnln_dist.sweep.study import ResourcesConfig

TWO_NODES = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("nodes", "need", "slots"),
    [
        (TWO_NODES, {}, 12),
        (TWO_NODES, {"cpus": 3}, 3),
        (TWO_NODES, {"gpus": 1}, 3),
        (TWO_NODES, {"gpus": 0.5, "cpus": 2}, 6),
        (TWO_NODES, {"gpus": 0.4}, 6),
        (TWO_NODES, {"gpus": 0.1, "cpus": 0.1}, 30),
        (TWO_NODES, {"gpus": 0.7}, 3),
        (TWO_NODES, {"gpus": 1, "workers": 3}, 1),
        (TWO_NODES, {"gpus": 1, "workers": 4}, 0),
        (TWO_NODES, {"workers": 2, "cpus": 4}, 1),
        (TWO_NODES, {"concurrent": 5}, 5),
        ([{"CPU": 16.0}], {"gpus": 0.5}, 0),
        ([], {}, 0),
    ],
)
def test_slots(nodes: list[dict[str, float]], need: dict[str, float], slots: int) -> None:
    assert capacity(nodes, ResourcesConfig(**need)).slots == slots


def test_a_sweep_that_never_fits_is_refused() -> None:
    need = ResourcesConfig(gpus=1, workers=4)
    with pytest.raises(UserError, match="needs 1 CPU cores and 1 GPUs in each of 4 processes"):
        check(capacity(TWO_NODES, need), need)
    fits = ResourcesConfig(gpus=1)
    check(capacity(TWO_NODES, fits), fits)
    assert str(capacity(TWO_NODES, fits)) == "2 nodes, 12 CPU cores, 3 GPUs: 3 trials at once"


def test_a_launcher_around_the_sweep_is_refused() -> None:
    check_launch({"RANK": "0", "ACCELERATE_USE_CPU": "true"})
    for name in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"):
        with pytest.raises(UserError, match=name):
            check_launch({name: "x"})


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "max 100000"}, 8),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "300000 100000"}, 3),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "3200000 100000"}, 8),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "250000 100000"}, 2),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "50000 100000"}, 1),
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "what"}, 8),
        # The tightest of a group and those around it.
        (
            {
                "proc/self/cgroup": "0::/job/step",
                f"{V2}/job/cpu.max": "400000 100000",
                f"{V2}/job/step/cpu.max": "600000 100000",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "7:memory:/x\n4:cpu,cpuacct:/docker/1",
                f"{V1}/cpu.cfs_quota_us": "200000",
                f"{V1}/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/",
                f"{V1}/cpu.cfs_quota_us": "-1",
                f"{V1}/cpu.cfs_period_us": "100000",
            },
            8,
        ),
    ],
)
@pytest.mark.usefixtures("eight_cores")
def test_usable_cores_are_those_of_the_mask_and_of_the_quota(
    tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    assert usable_cores(write(tmp_path, files)) == cores


def test_usable_cores_of_this_machine() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
