"""The launch scripts: what they start, with which environment, and how they end."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launch_files import LAUNCH, ROOT, StandIns, after, communicate

SCRIPTS = sorted([*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"])
TRAIN = ["--", "--config", "a b.yaml", "--output", "runs/x"]
LOCAL = [LAUNCH / "local.sh"]
MULTI = [LAUNCH / "multinode.sh", "--hosts", "4", "--rank", "3", "--main", "127.0.0.1"]
ELASTIC = [LAUNCH / "elastic.sh", "--hosts", "1:4", "--main", "127.0.0.1"]
ZERO = ["--accelerate_config", "launch/accelerate/zero2.yaml"]
# Waits to be told to leave, leaves the run's code, and ends as Accelerate's launcher does.
LEAVES = """trap 'echo told >>"$RECORDED/told"; echo 85 >"$LNLN_EXIT_FILE"; exit 1' TERM
touch "$RECORDED/ready"
while :; do sleep 0.05; done"""


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    made = StandIns(tmp_path)
    for name in ("accelerate", "torchrun"):
        made.add(name)
    return made


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script: Path) -> None:
    assert script.read_text().startswith(("#!/usr/bin/env bash\n", "# shellcheck shell=bash\n"))
    subprocess.run(["bash", "-n", str(script)], check=True)
    checker = shutil.which("shellcheck")
    if checker is not None:
        subprocess.run([checker, "-x", str(script)], check=True, cwd=ROOT)


def test_all_scripts_are_checked() -> None:
    names = {path.name for path in SCRIPTS}
    assert {"local.sh", "multinode.sh", "elastic.sh", "hostfile.sh", "slurm.sbatch"} <= names


def test_one_process_needs_no_launcher(programs: StandIns) -> None:
    python = programs.folder / "bin" / "python"
    python.unlink()
    programs.add("python")
    assert programs.run(*LOCAL, "--cpu", "1", *TRAIN) == (0, "")
    assert programs.arguments("python") == ["-m", "lnln_dist.train", *TRAIN[1:]]
    assert programs.seen("python")["CUDA_VISIBLE_DEVICES"] == ""


ALONE = [LAUNCH / "multinode.sh", "--hosts", "1", "--rank", "0", "--main", "127.0.0.1"]


def with_python(programs: StandIns, body: str = "exit 0") -> None:
    """A stand-in for python that still finds the interface."""
    (programs.folder / "bin" / "python").unlink()
    finds = f'case $1 in launch/interface.py) exec {sys.executable} "$@" ;; esac'
    programs.add("python", f"{finds}\n{body}")


@pytest.mark.parametrize(
    "line",
    [
        [*ALONE, "--cpu", "1"],
        [*ALONE, "--gpus", "1"],
        [*LOCAL, "--cpu", "1", "--accelerate_config", "launch/accelerate/cpu1.yaml"],
        [*LOCAL, "--gpus", "1", "--accelerate_config", "launch/accelerate/one_gpu.yaml"],
    ],
)
def test_one_process_in_total_needs_no_launcher_either(
    programs: StandIns, line: list[str | Path]
) -> None:
    with_python(programs)
    assert programs.run(*line, *TRAIN)[0] == 0
    assert programs.arguments("python") == ["-m", "lnln_dist.train", *TRAIN[1:]]
    assert not list(programs.folder.glob("accelerate.*"))


def test_one_process_that_is_restarted(programs: StandIns) -> None:
    options = ["--cpu", "1", "--restarts", "2", "--port", "1234"]
    assert programs.run(*LOCAL, *options, *TRAIN, "--resume")[0] == 0
    line = programs.arguments("torchrun")
    expected = {"--nproc-per-node": "1", "--max-restarts": "2", "--master-port": "1234"}
    assert {option: after(line, option) for option in expected} == expected
    assert line[-7:] == ["-m", "lnln_dist.train", *TRAIN[1:], "--resume"]
    assert not list(programs.folder.glob("accelerate.*"))


def test_one_process_of_a_strategy_goes_through_accelerate(programs: StandIns) -> None:
    assert programs.run(*ALONE, "--gpus", "1", *ZERO, *TRAIN)[0] == 0
    line = programs.arguments("accelerate")
    assert (after(line, "--config_file"), after(line, "--num_processes")) == (ZERO[1], "1")


def test_a_config_of_one_process_is_for_one(programs: StandIns, tmp_path: Path) -> None:
    single = ["--accelerate_config", "launch/accelerate/one_gpu.yaml"]
    for line in ([*LOCAL, "--gpus", "2"], [*MULTI, "--gpus", "1"]):
        code, said = programs.run(*line, *single, *TRAIN)
        assert (code, "is for one process" in said) == (2, True)
    config = tmp_path / "half.yaml"
    config.write_text("distributed_type: 'NO'\nmixed_precision: bf16\n")
    code, said = programs.run(*LOCAL, "--cpu", "1", "--accelerate_config", config, *TRAIN)
    assert (code, said.count("\n"), "train.precision" in said) == (2, 1, True)


def test_several_processes_of_a_host(programs: StandIns) -> None:
    assert programs.run(*LOCAL, "--cpu", "3", "--port", "1234", *TRAIN)[0] == 0
    line = programs.arguments("accelerate")
    assert (line[0], line[-6:]) == ("launch", ["-m", "lnln_dist.train", *TRAIN[1:]])
    assert after(line, "--num_processes") == "3"
    assert after(line, "--main_process_port") == "1234"
    assert "--multi_gpu" in line
    assert "--max_restarts" not in line


def test_gpus_are_counted(programs: StandIns) -> None:
    programs.add("nvidia-smi", "echo 'GPU 0: H100'; echo 'GPU 1: H100'")
    assert programs.run(*LOCAL, *TRAIN)[0] == 0
    assert after(programs.arguments("accelerate"), "--num_processes") == "2"
    assert "CUDA_VISIBLE_DEVICES" not in programs.seen("accelerate")


@pytest.mark.parametrize(
    ("visible", "counted"), [("3", 1), ("0,3", 2), ("GPU-a, GPU-b,GPU-c", 3), ("1,-1,2", 1)]
)
def test_only_visible_gpus_are_counted(programs: StandIns, visible: str, counted: int) -> None:
    with_python(programs)
    programs.add("nvidia-smi", "for i in 0 1 2 3; do echo GPU $i; done")
    assert programs.run(*LOCAL, *TRAIN, CUDA_VISIBLE_DEVICES=visible)[0] == 0
    if counted == 1:
        assert programs.arguments("python")[0] == "-m"
    else:
        assert after(programs.arguments("accelerate"), "--num_processes") == str(counted)


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_are_none(programs: StandIns, visible: str) -> None:
    programs.add("nvidia-smi", "echo GPU 0")
    code, said = programs.run(*LOCAL, *TRAIN, CUDA_VISIBLE_DEVICES=visible)
    assert (code, "no GPU found" in said) == (2, True)


@pytest.mark.parametrize(("option", "device"), [("--cpu", "cpu"), ("--gpus", "cuda")])
def test_training_is_told_which_device_was_asked_for(
    programs: StandIns, option: str, device: str
) -> None:
    assert programs.run(*LOCAL, option, "2", *TRAIN)[0] == 0
    assert programs.seen("accelerate")["LNLN_DEVICE"] == device


def test_threads_are_those_of_the_cores_it_may_use(programs: StandIns) -> None:
    programs.add("nproc", "echo 12")
    assert programs.run(*LOCAL, "--cpu", "3", *TRAIN)[0] == 0
    assert programs.seen("accelerate")["OMP_NUM_THREADS"] == "4"


def test_restarts_need_resume(programs: StandIns) -> None:
    code, said = programs.run(*LOCAL, "--cpu", "2", "--restarts", "3", *TRAIN)
    assert (code, "needs --resume" in said) == (2, True)
    assert programs.run(*LOCAL, "--cpu", "2", "--restarts", "3", *TRAIN, "--resume")[0] == 0
    assert after(programs.arguments("accelerate"), "--max_restarts") == "3"


def test_a_host_of_several(programs: StandIns) -> None:
    code, said = programs.run(*MULTI, "--gpus", "8", "--port", "4242", *TRAIN)
    assert code == 0
    assert said == ("multinode: host 3 of 4, 8 process(es), main 127.0.0.1:4242, interface lo\n")
    line = programs.arguments("accelerate")
    expected = {
        "--num_processes": "32",
        "--num_machines": "4",
        "--machine_rank": "3",
        "--main_process_ip": "127.0.0.1",
        "--main_process_port": "4242",
    }
    assert {option: after(line, option) for option in expected} == expected
    assert line[-6:] == ["-m", "lnln_dist.train", *TRAIN[1:]]
    assert "--deepspeed_multinode_launcher" not in line
    seen = programs.seen("accelerate")
    assert seen["GLOO_SOCKET_IFNAME"] == seen["NCCL_SOCKET_IFNAME"] == "lo"
    assert int(seen["OMP_NUM_THREADS"]) >= 1


def test_what_is_set_already_stays(programs: StandIns) -> None:
    given = {"GLOO_SOCKET_IFNAME": "eth7", "NCCL_SOCKET_IFNAME": "ib0", "OMP_NUM_THREADS": "5"}
    assert programs.run(*MULTI, "--cpu", "1", *TRAIN, **given)[0] == 0
    assert given.items() <= programs.seen("accelerate").items()


def test_a_strategy_by_its_accelerate_config(programs: StandIns) -> None:
    assert programs.run(*MULTI, "--gpus", "8", *ZERO, *TRAIN)[0] == 0
    line = programs.arguments("accelerate")
    assert after(line, "--config_file") == ZERO[1]
    assert after(line, "--deepspeed_multinode_launcher") == "standard"
    assert "--multi_gpu" not in line
    options = [
        "--accelerate_config",
        "launch/accelerate/fsdp2.yaml",
        "--module",
        "lnln_dist.doctor",
    ]
    assert programs.run(*MULTI, "--gpus", "8", *options, *TRAIN)[0] == 0
    line = programs.arguments("accelerate")
    assert "--deepspeed_multinode_launcher" not in line
    assert after(line, "-m") == "lnln_dist.doctor"


def test_an_elastic_host(programs: StandIns) -> None:
    assert programs.run(*ELASTIC, "--gpus", "8", "--id", "j7", *TRAIN, "--resume")[0] == 0
    line = programs.arguments("torchrun")
    expected = {
        "--nnodes": "1:4",
        "--nproc-per-node": "8",
        "--rdzv-endpoint": "127.0.0.1:29400",
        "--rdzv-id": "j7",
        "--local-addr": "127.0.0.1",
        "--max-restarts": "10",
    }
    assert {option: after(line, option) for option in expected} == expected
    assert programs.seen("torchrun")["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"


WRONG = [
    ([*LOCAL, "--cpu", "2"], "after a --"),
    ([*LOCAL, "--cpu", "2", "--"], "after a --"),
    ([*LOCAL, "--cpus", "2", *TRAIN], "unknown option --cpus"),
    ([*LOCAL, "--cpu", "2", "--gpus", "2", *TRAIN], "not both"),
    ([*LOCAL, "--cpu", "two", *TRAIN], "not a number: two"),
    ([*LOCAL, *TRAIN], "no GPU found"),
    ([*LOCAL, "--cpu", "2", "--accelerate_config", "none.yaml", *TRAIN], "no such file"),
    ([*LOCAL, "--cpu"], "--cpu needs a value"),
    ([*MULTI, "--rank", "4", "--cpu", "1", *TRAIN], "--rank 4 of 4 hosts"),
    ([*MULTI, "--port", "x", "--cpu", "1", *TRAIN], "whole numbers"),
    ([*MULTI[:5], "--cpu", "1", *TRAIN], "--main is missing"),
    ([*MULTI, "--main", "no.such.host.invalid", "--cpu", "1", *TRAIN], "has no address"),
    ([*MULTI, "--main", "localhost", "--cpu", "1", *TRAIN], "/etc/hosts"),
    ([*ELASTIC, "--main", "localhost", "--cpu", "1", *TRAIN, "--resume"], "/etc/hosts"),
    ([*ELASTIC, "--cpu", "1", *TRAIN], "needs --resume"),
    ([*ELASTIC, "--hosts", "a:b", "--cpu", "1", *TRAIN, "--resume"], "two such as 1:4"),
    ([LAUNCH / "hostfile.sh", "nowhere", *TRAIN], "give a hostfile"),
]


@pytest.mark.parametrize(("line", "part"), WRONG)
def test_a_mistake_is_one_line_and_starts_nothing(
    programs: StandIns, line: list[str | Path], part: str
) -> None:
    code, said = programs.run(*line, LNLN_WAIT_S="0")
    assert code in (1, 2)
    assert part in said
    assert said.count("\n") == 1
    assert not list(programs.folder.glob("accelerate.*"))


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_exit_code_of_a_run_comes_through(programs: StandIns, code: int) -> None:
    programs.add("accelerate", f"exit {code}")
    assert programs.run(*LOCAL, "--cpu", "2", *TRAIN)[0] == code


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("line", [LOCAL, MULTI], ids=["local", "multinode"])
def test_being_told_to_leave_ends_with_code_85(
    programs: StandIns, line: list[str | Path], number: signal.Signals
) -> None:
    programs.add("accelerate", LEAVES)
    child = programs.start(*line, "--cpu", "2", *TRAIN)
    deadline = time.monotonic() + 30
    while not (programs.folder / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(number)
    _, said = communicate(child, 30)
    assert child.returncode == 85
    assert "the same line again goes on" in said
    assert (programs.folder / "told").read_text() == "told\n"
    assert programs.seen("accelerate")["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "100"
    assert not Path(programs.seen("accelerate")["LNLN_EXIT_FILE"]).exists()


def test_being_told_before_anything_began_is_code_85_too(programs: StandIns) -> None:
    """A launcher or an interpreter that still starts is ended by the signal itself."""
    programs.add("accelerate", 'touch "$RECORDED/ready"; trap - TERM; exec sleep 60')
    child = programs.start(*LOCAL, "--cpu", "2", *TRAIN)
    deadline = time.monotonic() + 30
    while not (programs.folder / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGUSR1)
    _, said = communicate(child, 30)
    assert child.returncode == 85
    assert "before anything was done" in said
    programs.add("accelerate", "kill -TERM $$; sleep 60")  # nobody told the script
    assert programs.run(*LOCAL, "--cpu", "2", *TRAIN)[0] == 143


def test_being_told_while_hosts_wait_for_one_another(programs: StandIns) -> None:
    with_python(programs)
    body = 'touch "$RECORDED/ready"; sleep 2; echo lo 127.0.0.1'
    programs.add("python", body)
    child = programs.start(*MULTI, "--cpu", "2", *TRAIN)
    deadline = time.monotonic() + 30
    while not (programs.folder / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    _, said = communicate(child, 30)
    assert (child.returncode, "before anything was done" in said) == (85, True)
    assert not list(programs.folder.glob("accelerate.*"))


def test_a_failure_after_a_restart_is_no_notice(programs: StandIns) -> None:
    """Ranks told to leave are started again by the launcher, and then one fails."""
    code = "from lnln_dist.console import finish; raise SystemExit(finish(lambda _: 1, []))"
    body = f'echo 85 >"$LNLN_EXIT_FILE"; cd {ROOT}; exec {sys.executable} -c "{code}"'
    programs.add("accelerate", body)
    assert programs.run(*LOCAL, "--cpu", "2", *TRAIN)[0] == 1


# What ssh -tt does: the command's terminal is a new one, into which its own standard input goes.
SSH = """import os, pty, select, sys
host, command = sys.argv[4:]
child, terminal = pty.fork()
if child == 0:
    os.execvp("bash", ["bash", "-c", command])
inputs = [0, terminal]
with open(f"{os.environ['RECORDED']}/{host}.out", "wb", buffering=0) as log:
    while terminal in inputs:
        for ready in select.select(inputs, [], [])[0]:
            try:
                data = os.read(ready, 1000)
            except OSError:  # the command has ended
                data = b""
            if not data:
                inputs.remove(ready)
            elif ready == terminal:
                log.write(data)
            else:
                os.write(terminal, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
# As LEAVES, but takes a while, and says which host it is.
LEAVES_LATE = """trap 'sleep 1; echo told >>"$RECORDED/told"
echo 85 >"$LNLN_EXIT_FILE"; exit 1' TERM
touch "$RECORDED/ready$7"
while :; do sleep 0.05; done"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_notice_reaches_the_hosts_of_a_file(
    programs: StandIns, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "ssh.py").write_text(SSH)
    programs.add("ssh", f'exec {sys.executable} "$RECORDED/ssh.py" "$@"')
    programs.add("accelerate", LEAVES_LATE)
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 slots=2\nlocalhost slots=2\n")
    child = programs.start(LAUNCH / "hostfile.sh", hosts, *TRAIN)
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("ready*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(number)
    _, said = communicate(child, 30)
    assert child.returncode == 85, said
    assert (tmp_path / "told").read_text() == "told\ntold\n"  # it has waited for both


def test_hosts_of_a_file_are_started_by_ssh(programs: StandIns, tmp_path: Path) -> None:
    programs.add("ssh", 'host=$4; bash -c "$5" >"$RECORDED/$host.out" 2>"$RECORDED/$host.err"')
    programs.add("accelerate", 'cp "$RECORDED/accelerate.arguments" "$RECORDED/host$7"')
    hosts = tmp_path / "hosts"
    hosts.write_text("# two of them\n127.0.0.1 slots=2\n\nlocalhost slots=2 # spare\n")
    assert programs.run(LAUNCH / "hostfile.sh", hosts, *TRAIN)[0] == 0
    for rank in range(2):
        line = (tmp_path / f"host{rank}").read_text().splitlines()
        assert after(line, "--num_processes") == "4"
        assert after(line, "--main_process_ip") == "127.0.0.1"
        assert line[-4:] == TRAIN[1:]
    hosts.write_text("127.0.0.1 slots=2\nlocalhost slots=3\n")
    assert "same number" in programs.run(LAUNCH / "hostfile.sh", hosts, *TRAIN)[1]
    hosts.write_text("127.0.0.1:2\n")
    assert "expected HOST slots=N" in programs.run(LAUNCH / "hostfile.sh", hosts, *TRAIN)[1]


def test_the_worst_host_decides_the_exit_code(programs: StandIns, tmp_path: Path) -> None:
    programs.add("ssh", "case $4 in node2) exit 85 ;; *) exit 1 ;; esac")
    example = LAUNCH / "hostfile.example"
    assert programs.run(LAUNCH / "hostfile.sh", example, *TRAIN)[0] == 85


def test_the_example_of_a_hostfile_is_one_for_deepspeed_too() -> None:
    runner = pytest.importorskip("deepspeed.launcher.runner")
    assert dict(runner.fetch_hostfile(str(LAUNCH / "hostfile.example"))) == {
        "node1": 8,
        "node2": 8,
    }


def test_python_is_the_one_of_the_environment_if_there_is_one(programs: StandIns) -> None:
    venv = programs.folder / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    programs.add("accelerate", "exit 7")
    shutil.copy(programs.folder / "bin" / "accelerate", venv / "bin" / "accelerate")
    programs.add("accelerate", "exit 8")
    assert programs.run(*LOCAL, "--cpu", "2", *TRAIN, LNLN_VENV=str(venv))[0] == 7
