"""Sweeps sent to a cluster: by launch/ray/submit.sh and by launch/ray/slurm.sbatch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import TINY
from launcher import environment, free_port
from tiny_runs import write_data

pytest.importorskip("ray", reason="submitting to Ray needs Ray: pip install -e '.[ray]'")
pytestmark = [pytest.mark.dist, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))


def kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process with all that descends from it, whatever session that is in."""
    import psutil

    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


@pytest.fixture
def variables() -> dict[str, str]:
    venv = Path(sys.executable).parent
    return environment(
        LNLN_VENV=str(venv.parent),
        LNLN_PYTHON=sys.executable,
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN="0" * 64,
        RAY_USAGE_STATS_ENABLED="0",
        PATH=f"{venv}:{os.environ['PATH']}",
    )


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    write_data(tmp_path / "data")
    raw: dict[str, Any] = {
        "config": str(TINY),
        # Relative on purpose: made absolute before it leaves this folder.
        "settings": {"data.path": "data", "train.epochs": 2, "train.batch_size": 4},
        "axes": {"loss.adversarial": {"grid": [0.2, 0.8]}},
        "seeds": [5],
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture
def cluster(tmp_path: Path, variables: dict[str, str]) -> Iterator[str]:
    """A head node with a dashboard; its address."""
    port, dashboard, agent = free_port(), free_port(), free_port()
    with (tmp_path / "head.log").open("wb") as out:
        head = subprocess.Popen(
            [
                *(RAY, "start", "--head", "--node-ip-address", "127.0.0.1", "--port", str(port)),
                *("--num-cpus", "2", "--object-store-memory", "80000000"),
                *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)),
                # Another Ray on this machine would hold the usual one, and jobs find no agent.
                *("--dashboard-agent-listen-port", str(agent)),
                *("--temp-dir", f"/tmp/lnln-ray-{port}", "--block"),
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=variables,
        )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        end = time.monotonic() + 90
        listing = [RAY, "job", "list", "--address", address]
        while subprocess.run(listing, env=variables, capture_output=True).returncode:
            assert time.monotonic() < end, (tmp_path / "head.log").read_text()
            assert head.poll() is None, (tmp_path / "head.log").read_text()
            time.sleep(1)
        yield address
    finally:
        kill_tree(head)
        subprocess.run(["rm", "-rf", f"/tmp/lnln-ray-{port}"], check=False)


def finished(folder: Path) -> None:
    assert "Finished. 2 settings, 1 seed." in (folder / "summary.md").read_text()
    assert {path.parent.name for path in folder.glob("trials/*/trial.json")} == {
        "adversarial0.2_s5",
        "adversarial0.8_s5",
    }


def test_submit(sweep: Path, cluster: str, variables: dict[str, str]) -> None:
    output = sweep.parent / "out"
    done = subprocess.run(
        ["bash", str(ROOT / "launch" / "ray" / "submit.sh"), str(sweep), str(output)],
        env={**variables, "RAY_ADDRESS": cluster, "WAIT": "1"},
        cwd=sweep.parent,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"lnln-dist sweep show {output}" in done.stderr
    finished(output)


def test_slurm_script(sweep: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    """With stand-ins for SLURM's commands, and one machine as both of its nodes."""
    stubs = tmp_path / "bin"
    stubs.mkdir()
    (stubs / "scontrol").write_text("#!/bin/sh\nprintf 'one\\ntwo\\n'\n")
    # srun OPTIONS COMMAND...: runs the command, but for the address of a node.
    (stubs / "srun").write_text(
        "#!/bin/bash\n"
        'while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] && shift; shift; done\n'
        'if [ "$1" = hostname ]; then echo 127.0.0.1; exit; fi\n'
        'exec "$@"\n'
    )
    for stub in stubs.iterdir():
        stub.chmod(0o755)
    job = 20000 + free_port() % 20000
    slurm = {
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "PATH": f"{stubs}:{variables['PATH']}",
    }
    with (tmp_path / "slurm.log").open("wb") as out:
        batch = subprocess.Popen(
            [
                "bash",
                str(ROOT / "launch" / "ray" / "slurm.sbatch"),
                str(sweep),
                str(tmp_path / "o"),
                # The job begins in the checkout, not beside the sweep.
                *("--set", f"settings.data.path={sweep.parent / 'data'}"),
            ],
            env={**variables, **slurm},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        assert batch.wait(200) == 0, (tmp_path / "slurm.log").read_text()
    finally:
        kill_tree(batch)
        subprocess.run(["rm", "-rf", f"/tmp/ray-{job}"], check=False)
    finished(tmp_path / "o")
