"""What a launcher tells: read, or refused where it is wrong, incomplete or would be ignored."""

import json
from pathlib import Path

import pytest

from lnln_dist.errors import TrainingError
from lnln_dist.runtime import launcher
from lnln_dist.runtime.launcher import check_variables, read_launcher

DEEPSPEED = {"ACCELERATE_USE_DEEPSPEED": "true"}
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


def test_no_launcher_asks_for_nothing() -> None:
    assert read_launcher({}) == (None, {})
    assert read_launcher({"ACCELERATE_USE_DEEPSPEED": "false"}) == (None, {})


def test_zero_from_options() -> None:
    assert read_launcher(DEEPSPEED) == ("zero2", {"zero_optimization": {"stage": 2}})
    asked = {
        **DEEPSPEED,
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
        "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu",
        "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "none",
    }
    zero = {"stage": 3, "offload_param": {"device": "cpu"}}
    assert read_launcher(asked) == ("zero3", {"zero_optimization": zero})


def test_zero_from_a_file(tmp_path: Path) -> None:
    given = {"zero_optimization": {"stage": 1, "reduce_bucket_size": 5}}
    (tmp_path / "z.json").write_text(json.dumps(given))
    asked = {**DEEPSPEED, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(tmp_path / "z.json")}
    assert read_launcher(asked) == ("zero1", given)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such DeepSpeed config"),
        ("{", "not a readable DeepSpeed config"),
        ("{}", "needs a zero_optimization section"),
        ('{"zero_optimization": {"stage": 0}}', "ZeRO stage 0: choose stage 1, 2 or 3"),
        ('{"zero_optimization": {}}', "ZeRO stage None"),
        ('{"zero_optimization": {"stage": "auto"}}', "ZeRO stage auto"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "z.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TrainingError, match=message):
        read_launcher({**DEEPSPEED, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(path)})


@pytest.mark.parametrize(
    ("environment", "remedy"),
    [
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "set train.micro_batch instead"),
        ({"ACCELERATE_GRADIENT_CLIPPING": "1.0"}, "set optim.clip_norm instead"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "leave dynamo_backend out"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "use DDP, DeepSpeed or FSDP2"),
        ({**DEEPSPEED, "ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"}, "zero3_init_flag: false"),
        ({**FSDP, "FSDP_VERSION": "1"}, "fsdp_version: 2"),
        ({**FSDP, "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "ram_efficient_loading: false"),
        ({**FSDP, "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, "checkpoints are whole"),
        ({**FSDP, "FSDP_AUTO_WRAP_POLICY": "NO_WRAP"}, "every repeated layer is wrapped"),
    ],
)
def test_what_would_be_ignored_is_refused(environment: dict[str, str], remedy: str) -> None:
    with pytest.raises(TrainingError, match=f"which has no effect: .*{remedy}"):
        read_launcher(environment)


def test_what_says_the_same_is_fine() -> None:
    same = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1", "ACCELERATE_DYNAMO_BACKEND": "NO"}
    assert read_launcher({**same, **FSDP, "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"})[0] == "fsdp2"


GOOD = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": "abc"}, "RANK=abc is not a whole number"),
        ({"RANK": "-1"}, "RANK=-1 is not a whole number"),
        ({"MASTER_PORT": "abc"}, "MASTER_PORT=abc is not a whole number"),
        ({"RANK": ""}, "RANK= is not a whole number"),
        ({"MASTER_ADDR": ""}, "WORLD_SIZE=2 but MASTER_ADDR not set"),
        ({"RANK": "2"}, "RANK=2 of WORLD_SIZE=2"),
        ({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK=3 of LOCAL_WORLD_SIZE=1"),
    ],
)
def test_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        check_variables(GOOD | changes)


def test_a_rank_without_a_place_is_refused() -> None:
    with pytest.raises(TrainingError, match="RANK, MASTER_ADDR, MASTER_PORT not set"):
        check_variables({"WORLD_SIZE": "2"})


@pytest.mark.parametrize("given", [{}, GOOD, {"WORLD_SIZE": "1"}, {"SLURM_PROCID": "0"}])
def test_taken(given: dict[str, str]) -> None:
    assert check_variables(given) is None  # type: ignore[func-returns-value]


PYTHON = ["/usr/bin/python3", "/venv/bin/accelerate", "launch"]


@pytest.mark.parametrize(
    ("options", "processes"),
    [
        (["--cpu", "--num_processes", "2", "-m", "lnln_dist.train", "--output", "x"], 2),
        (["--num_processes=4", "train.py", "--num_processes", "9"], 4),
        (["--num-processes", "3", "train.py"], 3),
        (["--num_processes", "1", "train.py"], 1),
    ],
)
def test_a_command_line_of_accelerate_is_understood(options: list[str], processes: int) -> None:
    assert launcher.processes_asked_for([*PYTHON, *options]) == processes
    direct = ["/usr/bin/python3", "/venv/bin/accelerate-launch", *options]
    assert launcher.processes_asked_for(direct) == processes
    module = ["python", "-m", "accelerate.commands.launch", *options]
    assert launcher.processes_asked_for(module) == processes


def test_a_config_file_of_accelerate_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cpu.yaml"
    path.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_processes: 2\n"
        "num_machines: 1\nmachine_rank: 0\nuse_cpu: true\nmixed_precision: 'no'\ndebug: false\n"
    )
    assert launcher.processes_asked_for([*PYTHON, "--config_file", str(path), "train.py"]) == 2


@pytest.mark.parametrize("command", [[], ["bash"], ["pytest", "launch", "--num_processes", "2"]])
def test_other_parents_ask_for_nothing(command: list[str]) -> None:
    assert launcher.processes_asked_for(command) == 1


def test_one_of_several_by_accelerate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        launcher, "_parent_command", lambda: [*PYTHON, "--cpu", "--num_processes", "2", "train.py"]
    )
    with pytest.raises(TrainingError, match="asked for 2 processes and started one"):
        launcher.check_alone({})


def test_tasks_of_srun_that_do_not_know_each_other_are_refused() -> None:
    with pytest.raises(TrainingError, match="srun started 4 tasks"):
        launcher.check_alone({"SLURM_STEP_NUM_TASKS": "4"})
    launcher.check_alone({"SLURM_STEP_NUM_TASKS": "1"})


def test_the_parent_of_this_process_can_be_read() -> None:
    assert launcher._parent_command()
