"""One process although several were asked for."""

from pathlib import Path

import pytest

from lnln_dist.errors import TrainingError
from lnln_dist.runtime import alone

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
    assert alone.processes_asked_for([*PYTHON, *options]) == processes
    direct = ["/usr/bin/python3", "/venv/bin/accelerate-launch", *options]
    assert alone.processes_asked_for(direct) == processes
    module = ["python", "-m", "accelerate.commands.launch", *options]
    assert alone.processes_asked_for(module) == processes


def test_a_config_file_of_accelerate_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cpu.yaml"
    path.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_processes: 2\n"
        "num_machines: 1\nmachine_rank: 0\nuse_cpu: true\nmixed_precision: 'no'\ndebug: false\n"
    )
    assert alone.processes_asked_for([*PYTHON, "--config_file", str(path), "train.py"]) == 2


@pytest.mark.parametrize("command", [[], ["bash"], ["pytest", "launch", "--num_processes", "2"]])
def test_other_parents_ask_for_nothing(command: list[str]) -> None:
    assert alone.processes_asked_for(command) == 1


def test_one_of_several_by_accelerate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        alone, "_parent_command", lambda: [*PYTHON, "--cpu", "--num_processes", "2", "train.py"]
    )
    with pytest.raises(TrainingError, match="asked for 2 processes and started one"):
        alone.check_alone({})


def test_tasks_of_srun_that_do_not_know_each_other_are_refused() -> None:
    with pytest.raises(TrainingError, match="srun started 4 tasks"):
        alone.check_alone({"SLURM_STEP_NUM_TASKS": "4"})
    alone.check_alone({"SLURM_STEP_NUM_TASKS": "1"})


def test_the_parent_of_this_process_can_be_read() -> None:
    assert alone._parent_command()
