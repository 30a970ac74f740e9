"""Data that are cut short under a process that reads them; a real bus error is in the e2e tests."""

import os
import signal
import subprocess
import sys

import feature_files
import pytest

from lnln_dist.data.convert import prepare
from lnln_dist.data.damage import explain_damaged_data, find_damage, witnessed
from lnln_dist.errors import DataError

DYING = """import os, sys
from lnln_dist.data.damage import witnessed
with witnessed(sys.argv[1]):
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), 9)"""


@pytest.fixture
def prepared(tmp_path):
    source = feature_files.write(tmp_path / "f.pkl", feature_files.feature_file())
    prepare(source, tmp_path / "out", dataset="mosi")
    return tmp_path / "out"


def cut(folder):
    (shard,) = folder.glob("train-*.arrow")
    os.truncate(shard, 10)
    return shard


def test_only_damage_is_found(prepared):
    assert find_damage(prepared) == ""
    shard = cut(prepared)
    assert find_damage(prepared).startswith(f"{shard}: the shard has 10 bytes")


def test_an_error_is_explained_by_damage_alone(prepared):
    with pytest.raises(RuntimeError, match="worker exited"), explain_damaged_data(str(prepared)):
        raise RuntimeError("worker exited")
    cut(prepared)
    with pytest.raises(DataError, match="10 bytes"), explain_damaged_data(str(prepared)):
        raise RuntimeError("worker exited")
    with pytest.raises(KeyError), explain_damaged_data(str(prepared)):
        raise KeyError("not of the data")


@pytest.mark.parametrize(
    ("ends", "damaged", "told"), [("well", True, 0), ("dies", True, 1), ("dies", False, 0)]
)
def test_the_witness_tells_of_damage_after_a_death_alone(prepared, ends, damaged, told):
    if damaged:
        cut(prepared)
    done = subprocess.run(
        [sys.executable, "-c", DYING, prepared, ends], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == (-signal.SIGKILL if ends == "dies" else 0)
    assert done.stderr.count("lnln-dist: error: ") == told


def test_torch_that_raises_at_the_shells_end_hides_nothing(prepared):
    """Its handler does so at every child's end, once a worker of a loader has died."""

    def tell(number, frame):
        raise RuntimeError("worker killed")

    previous = signal.signal(signal.SIGCHLD, tell)
    try:
        with pytest.raises(DataError, match="the cause"), witnessed(str(prepared)):
            raise DataError("the cause")
    finally:
        signal.signal(signal.SIGCHLD, previous)
