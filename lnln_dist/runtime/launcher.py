"""What ``accelerate launch`` asks for, read from the variables it leaves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lnln_dist.config import StrategyName as StrategyName
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


def read_launcher(environment: Environment) -> tuple[StrategyName | None, dict[str, Any]]:
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
    return cast("StrategyName", f"zero{stage}"), given


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
