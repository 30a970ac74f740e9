"""What a launcher tells a process, and what it was asked for: read, checked, or refused."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lnln_dist.config import Strategy as Strategy
from lnln_dist.errors import TrainingError

Environment = Mapping[str, str]

# Settings of a launcher that would be ignored, with the values that mean what is done anyway.
_FIXED: dict[str, tuple[tuple[str, ...], str]] = {
    "ACCELERATE_DYNAMO_BACKEND": (("no", ""), "leave dynamo_backend out"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": (("1", "auto"), "set train.micro_batch instead"),
    "ACCELERATE_GRADIENT_CLIPPING": (("none", "auto"), "set optim.clip_norm instead"),
    "ACCELERATE_USE_MEGATRON_LM": (("false",), "use DDP, DeepSpeed or FSDP2"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": (("false",), "use DDP, DeepSpeed or FSDP2"),
}
_FIXED_DEEPSPEED: dict[str, tuple[tuple[str, ...], str]] = {
    "ACCELERATE_DEEPSPEED_ZERO3_INIT": (("false",), "set zero3_init_flag: false"),
    "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": (
        ("false",),
        "set zero3_save_16bit_model: false (checkpoints are whole and in float32)",
    ),
    "ACCELERATE_DEEPSPEED_MOE_LAYER_CLS_NAMES": ((), "leave deepspeed_moe_layer_cls_names out"),
}
_FIXED_FSDP: dict[str, tuple[tuple[str, ...], str]] = {
    "FSDP_VERSION": (("2",), "set fsdp_version: 2"),
    "FSDP_RESHARD_AFTER_FORWARD": (("true",), "set fsdp_reshard_after_forward: true"),
    "FSDP_OFFLOAD_PARAMS": (("false",), "set fsdp_offload_params: false"),
    "FSDP_AUTO_WRAP_POLICY": ((), "leave it out: every repeated layer is wrapped"),
    "FSDP_TRANSFORMER_CLS_TO_WRAP": ((), "leave it out: every repeated layer is wrapped"),
    "FSDP_STATE_DICT_TYPE": (("full_state_dict",), "leave it out: checkpoints are whole"),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": (("false",), "set fsdp_cpu_ram_efficient_loading: false"),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        ("false",),
        "set model.encoder.checkpoint_activations instead",
    ),
}


def read_launcher(environment: Environment) -> tuple[Strategy | None, dict[str, Any]]:
    """The launcher's strategy (None: it names none) and its DeepSpeed settings.

    Raises:
        TrainingError: it sets something that would be ignored, or a DeepSpeed config is unusable.
    """
    _refuse_ignored(environment, _FIXED)
    if environment.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        _refuse_ignored(environment, _FIXED_FSDP)
        return "fsdp2", {}
    if environment.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
        return None, {}
    _refuse_ignored(environment, _FIXED_DEEPSPEED)
    file = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    given = _read_json(Path(file)) if file != "none" else _from_variables(environment)
    stage = given["zero_optimization"].get("stage")
    if stage not in (1, 2, 3):
        raise TrainingError(
            f"accelerate launch asks for DeepSpeed with ZeRO stage {stage}: choose stage 1, 2 or 3 "
            "(without ZeRO, launch DDP by --multi_gpu)"
        )
    return cast("Strategy", f"zero{stage}"), given


def _read_json(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise TrainingError(
            f"{path}: no such DeepSpeed config (a relative path starts at the launch folder)"
        ) from err
    except (OSError, ValueError) as err:
        raise TrainingError(f"{path}: not a readable DeepSpeed config ({err})") from err
    if not isinstance(given, dict) or not isinstance(given.get("zero_optimization"), dict):
        raise TrainingError(f"{path}: a DeepSpeed config needs a zero_optimization section")
    return given


def _from_variables(environment: Environment) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": int(environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))}
    for kind in ("optimizer", "param"):
        device = environment.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{kind.upper()}_DEVICE", "none")
        if device != "none":
            zero[f"offload_{kind}"] = {"device": device}
    return {"zero_optimization": zero}


def _refuse_ignored(
    environment: Environment, fixed: Mapping[str, tuple[tuple[str, ...], str]]
) -> None:
    for name, (allowed, remedy) in fixed.items():
        value = environment.get(name)
        if value is not None and value.lower() not in allowed:
            raise TrainingError(f"the launcher sets {name}={value}, which has no effect: {remedy}")


NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
PLACE = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # what one of several processes has to know
REMEDY = "start by accelerate launch, torchrun or launch/*.sh, which set them, or unset WORLD_SIZE"


def check_variables(environment: Environment) -> None:
    """Refuses variables that are no numbers, that are missing, or that contradict one another.

    Raises:
        TrainingError: names the variable.
    """
    for name in NUMBERS:
        value = environment.get(name)
        if value is not None and not value.isdecimal():
            raise TrainingError(f"{name}={value} is not a whole number: {REMEDY}")
    world = int(environment.get("WORLD_SIZE", "1"))
    if world > 1:
        missing = [name for name in PLACE if not environment.get(name)]
        if missing:
            raise TrainingError(f"WORLD_SIZE={world} but {', '.join(missing)} not set: {REMEDY}")
    for rank, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if rank in environment and size in environment:
            place, count = int(environment[rank]), int(environment[size])
            if place >= count:
                raise TrainingError(f"{rank}={place} of {size}={count}: they count from 0")


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
