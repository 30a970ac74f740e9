"""A SLURM job of two nodes from start to end, SLURM's own programs being stand-ins."""

import json
import signal
import sys
from pathlib import Path

import pytest
from command_line import TINY
from launch_files import LAUNCH, ROOT, StandIns, communicate
from two_hosts import wait_until

pytestmark = [pytest.mark.dist, pytest.mark.slow, pytest.mark.timeout(400)]

JOB = {
    "SLURM_SUBMIT_DIR": str(ROOT),
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_NNODES": "2",
    "LNLN_CPU": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
# Runs the tasks of both nodes here and passes SIGUSR1 on to them, as srun does.
SRUN = """while [ "${1:0:2}" = -- ]; do shift; done
tasks=()
for node in 0 1; do
    SLURM_NODEID=$node "$@" >"$RECORDED/node$node.log" 2>&1 &
    tasks+=($!)
done
trap 'kill -USR1 "${tasks[@]}"' USR1
worst=0
for task in "${tasks[@]}"; do
    while :; do
        code=0; wait "$task" || code=$?
        kill -0 "$task" 2>/dev/null || break
    done
    if [ $code -gt $worst ]; then worst=$code; fi
done
exit $worst"""


def steps(run: Path) -> list[int]:
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if line["kind"] == "train"]


def test_a_job_that_runs_out_of_time_is_queued_again_and_ends(corpus: Path, tmp_path: Path) -> None:
    cluster, run = StandIns(tmp_path), tmp_path / "run"
    cluster.add("srun", SRUN)
    cluster.add("scontrol", 'if [ "$1" = show ]; then echo 127.0.0.1; echo 127.0.0.1; fi')
    line = ["--config", str(TINY), "--data.path", str(corpus / "data"), "--output", str(run)]
    line += ["--train.epochs", "8", "--train.checkpoint_steps", "1"]
    given = JOB | {"LNLN_VENV": str(Path(sys.executable).parents[1])}

    child = cluster.start(LAUNCH / "slurm.sbatch", *line, **given)
    wait_until(lambda: (run / "checkpoints").is_dir(), timeout_s=120, what="a checkpoint")
    child.send_signal(signal.SIGUSR1)
    said, wrong = communicate(child, 100)
    assert child.returncode == 0, wrong
    assert "job 4711 is queued again" in said
    assert cluster.arguments("scontrol") == ["requeue", "4711"]
    for node in range(2):
        assert "told to leave: checkpoint of step" in (tmp_path / f"node{node}.log").read_text()
    stopped = steps(run)[-1]
    assert stopped < 40

    code, wrong = cluster.run(LAUNCH / "slurm.sbatch", *line, limit_s=200, **given)
    assert code == 0, wrong
    assert cluster.arguments("scontrol")[0] == "show"
    assert steps(run) == list(range(1, 41))
