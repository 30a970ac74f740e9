"""The launch scripts: what they start, with which environment, and what they refuse."""

import shutil
import subprocess
from pathlib import Path

import pytest
from launch_files import LAUNCH, LOCAL, MULTI, ROOT, TRAIN, StandIns, after

SCRIPTS = sorted([*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"])
ELASTIC = [LAUNCH / "elastic.sh", "--hosts", "1:4", "--main", "127.0.0.1"]
ZERO = ["--accelerate-config", "launch/accelerate/zero2.yaml"]
ALONE = [LAUNCH / "multinode.sh", "--hosts", "1", "--rank", "0", "--main", "127.0.0.1"]


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
    programs.add("python")
    assert programs.run(*LOCAL, "--cpu", "1", *TRAIN) == (0, "")
    assert programs.arguments("python") == ["-m", "lnln_dist.train", *TRAIN[1:]]
    assert programs.seen("python")["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    "line",
    [
        [*ALONE, "--cpu", "1"],
        [*ALONE, "--gpus", "1"],
        [*LOCAL, "--cpu", "1", "--accelerate-config", "launch/accelerate/cpu1.yaml"],
        [
            *LOCAL,
            "--gpus",
            "1",
            "--accelerate_config",
            "launch/accelerate/one_gpu.yaml",
        ],  # as before
    ],
)
def test_one_process_in_total_needs_no_launcher_either(
    programs: StandIns, line: list[str | Path]
) -> None:
    programs.add_python()
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
    single = ["--accelerate-config", "launch/accelerate/one_gpu.yaml"]
    for line in ([*LOCAL, "--gpus", "2"], [*MULTI, "--gpus", "1"]):
        code, said = programs.run(*line, *single, *TRAIN)
        assert (code, "is for one process" in said) == (2, True)
    config = tmp_path / "half.yaml"
    config.write_text("distributed_type: 'NO'\nmixed_precision: bf16\n")
    code, said = programs.run(*LOCAL, "--cpu", "1", "--accelerate-config", config, *TRAIN)
    assert (code, said.count("\n"), "train.precision" in said) == (2, 1, True)


def test_several_processes_of_a_host(programs: StandIns) -> None:
    assert programs.run(*LOCAL, "--cpu", "3", "--port", "1234", *TRAIN)[0] == 0
    line = programs.arguments("accelerate")
    assert (line[0], line[-6:]) == ("launch", ["-m", "lnln_dist.train", *TRAIN[1:]])
    assert after(line, "--num_processes") == "3"
    assert after(line, "--main_process_port") == "1234"
    assert "--multi_gpu" in line
    assert "--max_restarts" not in line


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
        "--accelerate-config",
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
    ([*LOCAL, "--cpu", "2", "--accelerate-config", "none.yaml", *TRAIN], "no such file"),
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
    ([LAUNCH / "install.sh", "dev,rai"], "no extra rai; known: deepspeed ray onnx optuna clips"),
]


@pytest.mark.parametrize("script", [LOCAL, MULTI], ids=["local", "multinode"])
def test_a_strategy_of_deepspeed_needs_deepspeed(
    programs: StandIns, script: list[str | Path]
) -> None:
    programs.add_python("exit 1")  # it is not found
    code, said = programs.run(*script, "--cpu", "2", *ZERO, *TRAIN)
    assert (code, said.count("\n")) == (2, 1)
    assert "zero2.yaml needs DeepSpeed: bash launch/install.sh deepspeed" in said
    assert not list(programs.folder.glob("accelerate.*"))


@pytest.mark.parametrize(("line", "part"), WRONG)
def test_a_mistake_is_one_line_and_starts_nothing(
    programs: StandIns, line: list[str | Path], part: str
) -> None:
    code, said = programs.run(*line, LNLN_WAIT_S="0")
    assert code in (1, 2)
    assert part in said
    assert said.count("\n") == 1
    assert not list(programs.folder.glob("accelerate.*"))
