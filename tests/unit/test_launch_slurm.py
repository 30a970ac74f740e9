"""The SLURM script with stand-ins for srun and scontrol."""

import re
import signal
import time
from pathlib import Path

import pytest
from launch_files import LAUNCH, ROOT, StandIns, after, communicate

SCRIPT = LAUNCH / "slurm.sbatch"
JOB = {
    "SLURM_SUBMIT_DIR": str(ROOT),
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_NNODES": "2",
    "SLURM_GPUS_ON_NODE": "4",
}
TRAIN = ["--config", "a b.yaml", "--output", "runs/x"]
# Runs one task per node at a time, as node 0 and 1; keeps the worst exit code.
SRUN = """worst=0
while [ "${1:0:2}" = -- ]; do shift; done
for node in 0 1; do
    code=0; SLURM_NODEID=$node "$@" || code=$?
    mv "$RECORDED/accelerate.arguments" "$RECORDED/node$node.arguments"
    if [ $code -gt $worst ]; then worst=$code; fi
done
exit $worst"""


@pytest.fixture
def cluster(tmp_path: Path) -> StandIns:
    made = StandIns(tmp_path)
    made.add("srun", SRUN)
    made.add("accelerate")
    made.add(
        "scontrol",
        'if [ "$1" = hostnames ] || [ "$2" = hostnames ]; then echo 127.0.0.1; echo n2; fi',
    )
    return made


def directives() -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SCRIPT.read_text(), re.M)
    return dict(found)


def test_what_is_asked_of_slurm() -> None:
    asked = directives()
    assert asked["ntasks-per-node"] == "1"
    # The batch script alone is told, two minutes before the end.
    assert asked["signal"] == "B:USR1@120"
    assert {"requeue", "nodes", "gpus-per-node", "time"} <= asked.keys()
    assert asked["open-mode"] == "append"  # or a second turn would erase the first one's log


def test_each_node_gets_its_rank_and_the_first_one_as_main(cluster: StandIns) -> None:
    assert cluster.run(SCRIPT, *TRAIN, **JOB)[0] == 0
    assert "--ntasks=2" in cluster.arguments("srun")
    for node in range(2):
        line = cluster.arguments(f"node{node}")
        assert after(line, "--machine_rank") == str(node)
        assert after(line, "--num_processes") == "8"
        assert after(line, "--main_process_ip") == "127.0.0.1"
        assert after(line, "--main_process_port") == str(20000 + 4711)
        assert line[-5:] == [*TRAIN, "--resume"]


def test_another_strategy_and_cpus(cluster: StandIns) -> None:
    zero = "launch/accelerate/zero3.yaml"
    extra = JOB | {"ACCELERATE_CONFIG": zero, "LNLN_CPU": "2"}
    assert cluster.run(SCRIPT, *TRAIN, **extra)[0] == 0
    line = cluster.arguments("node1")
    assert (after(line, "--config_file"), after(line, "--num_processes")) == (zero, "4")


def test_the_tasks_get_the_cores_of_the_job(cluster: StandIns) -> None:
    """Since SLURM 22.05 srun gives one core, unless it is told itself."""
    assert cluster.run(SCRIPT, *TRAIN, **JOB, SLURM_CPUS_PER_TASK="16")[0] == 0
    assert cluster.seen("srun")["SRUN_CPUS_PER_TASK"] == "16"
    assert cluster.run(SCRIPT, *TRAIN, **JOB)[0] == 0
    assert "SRUN_CPUS_PER_TASK" not in cluster.seen("srun")


@pytest.mark.parametrize("code", [1, 3])
def test_a_failure_is_not_queued_again(cluster: StandIns, code: int) -> None:
    cluster.add("accelerate", f"exit {code}")
    assert cluster.run(SCRIPT, *TRAIN, **JOB)[0] == code
    assert cluster.arguments("scontrol")[:2] == ["show", "hostnames"]


def test_being_told_to_leave_queues_the_job_again(cluster: StandIns) -> None:
    cluster.add(
        "srun",
        "trap 'echo USR1 >>\"$RECORDED/told\"; exit 85' USR1\n"
        'touch "$RECORDED/ready"\nwhile :; do sleep 0.05; done',
    )
    child = cluster.start(SCRIPT, *TRAIN, **JOB)
    deadline = time.monotonic() + 30
    while not (cluster.folder / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGUSR1)
    said, _ = communicate(child, 30)
    assert child.returncode == 0
    assert "job 4711 is queued again" in said
    assert (cluster.folder / "told").read_text() == "USR1\n"
    assert cluster.arguments("scontrol") == ["requeue", "4711"]


def test_outside_slurm_it_says_so(cluster: StandIns) -> None:
    code, said = cluster.run(SCRIPT, *TRAIN)
    assert code != 0
    assert "this script is for sbatch" in said
    without = {k: v for k, v in JOB.items() if k != "SLURM_GPUS_ON_NODE"}
    code, said = cluster.run(SCRIPT, *TRAIN, **without)
    assert code != 0
    assert "--gpus-per-node" in said
