"""A sweep on two hosts in network namespaces, one of which is killed, and so is the driver."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="a sweep on two hosts needs Ray: pip install -e '.[ray]'")
SCRIPT = Path(__file__).with_name("ray_two_nodes.sh")


def may_make_namespaces() -> bool:
    """Root with iproute2 and the capability; a container often lacks the last."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"lnln-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "del", name], check=False)
    return made.returncode == 0


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_host_and_killed_driver_leave_the_summary_as_it_was(tmp_path: Path) -> None:
    if not may_make_namespaces():
        pytest.skip("network namespaces need root and CAP_NET_ADMIN")
    venv = str(Path(sys.executable).parents[1])
    done = subprocess.run(
        ["bash", str(SCRIPT), str(tmp_path / "w")],
        env={**os.environ, "LNLN_VENV": venv},
        capture_output=True,
        text=True,
        timeout=1750,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "PASSED" in done.stdout
