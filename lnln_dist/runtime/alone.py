"""Finds out that a process is alone although the command that started it asked for several."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lnln_dist.errors import TrainingError

_LAUNCHERS = ("accelerate", "accelerate-launch", "accelerate.commands.launch")


def check_alone(environment: Mapping[str, str]) -> None:
    """For a process that is told of no others.

    Args:
        environment: variables of this process, no world size among them.

    Raises:
        TrainingError: srun or accelerate launch was asked for several processes.
    """
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        raise TrainingError(
            f"srun started {tasks} tasks that know nothing of each other: run `srun accelerate "
            "launch ...` with one task per node, or set WORLD_SIZE=1 for separate runs"
        )
    asked = processes_asked_for(_parent_command())
    if asked > 1:
        raise TrainingError(
            f"accelerate launch was asked for {asked} processes and started one (--cpu and "
            "MULTI_CPU do that): use --multi_gpu, on a machine without GPUs too"
        )


def _parent_command() -> list[str]:
    if sys.platform != "linux":
        return []
    try:
        raw = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="replace").rstrip("\0").split("\0")


def processes_asked_for(command: list[str]) -> int:
    """Processes that a command line of ``accelerate launch`` asks for; 1 for any other command."""
    # At most "python -m accelerate.commands.launch" comes before its options.
    found = [i for i, part in enumerate(command[:3]) if Path(part).name in _LAUNCHERS]
    if not found:
        return 1
    from accelerate.commands.config import load_config_from_file
    from accelerate.commands.config.config_args import default_config_file
    from accelerate.commands.launch import launch_command_parser

    options = command[found[0] + 1 :]
    options = options[1:] if options[:1] == ["launch"] else options
    try:
        arguments, _ = launch_command_parser().parse_known_args(options)
        file = arguments.config_file
        if arguments.num_processes is None and (file or Path(default_config_file).is_file()):
            return int(load_config_from_file(file).num_processes)
        return int(arguments.num_processes or 1)
    except (SystemExit, OSError, ValueError):  # the launcher itself has parsed it
        return 1
