"""What the launch scripts share: devices, programs, being told to leave, exit codes."""

import shutil
import signal
import sys
from pathlib import Path

import pytest
from launch_files import LOCAL, MULTI, ROOT, TRAIN, StandIns, after, communicate

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


def test_gpus_are_counted(programs: StandIns) -> None:
    programs.add("nvidia-smi", "echo 'GPU 0: H100'; echo 'GPU 1: H100'")
    assert programs.run(*LOCAL, *TRAIN)[0] == 0
    assert after(programs.arguments("accelerate"), "--num_processes") == "2"
    assert "CUDA_VISIBLE_DEVICES" not in programs.seen("accelerate")


@pytest.mark.parametrize(
    ("visible", "counted"), [("3", 1), ("0,3", 2), ("GPU-a, GPU-b,GPU-c", 3), ("1,-1,2", 1)]
)
def test_only_visible_gpus_are_counted(programs: StandIns, visible: str, counted: int) -> None:
    programs.add_python()
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
    programs.wait_for("ready")
    child.send_signal(number)
    _, said = communicate(child, 60)
    assert child.returncode == 85
    assert "the same line again goes on" in said
    assert (programs.folder / "told").read_text() == "told\n"
    assert programs.seen("accelerate")["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "100"
    assert not Path(programs.seen("accelerate")["LNLN_EXIT_FILE"]).exists()


def test_being_told_before_anything_began_is_code_85_too(programs: StandIns) -> None:
    """A launcher or an interpreter that still starts is ended by the signal itself."""
    programs.add("accelerate", 'touch "$RECORDED/ready"; trap - TERM; exec sleep 60')
    child = programs.start(*LOCAL, "--cpu", "2", *TRAIN)
    programs.wait_for("ready")
    child.send_signal(signal.SIGUSR1)
    _, said = communicate(child, 30)
    assert child.returncode == 85
    assert "before anything was done" in said
    programs.add("accelerate", "kill -TERM $$; sleep 60")  # nobody told the script
    assert programs.run(*LOCAL, "--cpu", "2", *TRAIN)[0] == 143


def test_being_told_while_hosts_wait_for_one_another(programs: StandIns) -> None:
    programs.add_python()
    body = 'touch "$RECORDED/ready"; sleep 2; echo lo 127.0.0.1'
    programs.add("python", body)
    child = programs.start(*MULTI, "--cpu", "2", *TRAIN)
    programs.wait_for("ready")
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


def test_python_is_the_one_of_the_environment_if_there_is_one(programs: StandIns) -> None:
    venv = programs.folder / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    programs.add("accelerate", "exit 7")
    shutil.copy(programs.folder / "bin" / "accelerate", venv / "bin" / "accelerate")
    programs.add("accelerate", "exit 8")
    assert programs.run(*LOCAL, "--cpu", "2", *TRAIN, LNLN_VENV=str(venv))[0] == 7
