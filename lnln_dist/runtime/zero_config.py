"""The DeepSpeed config of a run: the launcher's ZeRO tuning, everything else filled in.

Batch sizes, accumulation, clipping, optimizer and precision are the training config's business.
A DeepSpeed config may leave them out or say ``auto``; a number there is refused, as two places
that say the same thing sooner or later say different things.
"""

import copy
from typing import Any

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.launch import Launch

# Elements of a communication buffer: DeepSpeed's own 500 million need more than the model does.
BUCKET = 50_000_000
NEVER = 10**9  # steps between DeepSpeed's own progress lines
# Keys of DeepSpeed that are decided elsewhere: the values that say the same, and where to say it.
_ELSEWHERE: dict[str, tuple[tuple[Any, ...], str]] = {
    "train_batch_size": (("auto",), "train.batch_size"),
    "train_micro_batch_size_per_gpu": (("auto",), "train.micro_batch"),
    "gradient_accumulation_steps": (("auto", 1), "train.micro_batch"),
    "gradient_clipping": (("auto",), "optim.clip_norm"),
    "optimizer": ((), "optim"),
    "scheduler": ((), "optim.schedule"),
    "amp": ((), "train.precision"),
    "torch_autocast": ((), "train.precision"),
}


def deepspeed_config(launch: Launch) -> dict[str, Any]:
    """The config for ``deepspeed.initialize``.

    The engine is told of micro-batches of one sample and no accumulation or clipping of its own:
    the training loop decides when a step ends and by what its gradients are divided.

    Raises:
        TrainingError: the launcher's settings contradict the training config, ask for files on
            NVMe, or hold an ``auto`` that nothing fills in.
    """
    given = copy.deepcopy(launch.deepspeed)
    for key, (same, place) in _ELSEWHERE.items():
        value = given.pop(key, "auto")
        if value not in (*same, "auto"):
            raise TrainingError(
                f"DeepSpeed config {key}: {value!r}: drop it, {place} of the training config "
                "decides that"
            )
    zero = given.setdefault("zero_optimization", {})
    _check_precision(given, launch)
    _check_offload(zero)
    if zero.setdefault("stage", launch.stage) != launch.stage:
        raise TrainingError(
            f"DeepSpeed config stage {zero['stage']}, the config for train.strategy "
            f"{launch.strategy}: change one of the two"
        )
    for name in ("reduce_bucket_size", *(("allgather_bucket_size",) if launch.stage < 3 else ())):
        zero.setdefault(name, BUCKET)
    if launch.offload:
        zero.setdefault("offload_optimizer", {"device": "cpu"})
    if given.pop("zero_force_ds_cpu_optimizer", False):
        raise TrainingError(
            "DeepSpeed config zero_force_ds_cpu_optimizer: true: drop it, the optimizer is torch's "
            "AdamW (DeepSpeed's own is compiled at the first start, which a stale lock can stop)"
        )
    _refuse_auto(given)
    filled = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": launch.precision == "bf16"},
    }
    if launch.precision == "bf16" and (launch.stage > 1 or launch.offload):
        # Sums over micro-batches keep float32. (At stage 1 this would select another optimizer.)
        given.setdefault("data_types", {"grad_accum_dtype": "fp32"})
    return {"steps_per_print": NEVER, **given, **filled}


def _check_precision(given: dict[str, Any], launch: Launch) -> None:
    for kind in ("fp16", "bf16"):
        enabled = given.pop(kind, {}).get("enabled", "auto")
        if enabled not in ("auto", launch.precision == kind):
            raise TrainingError(
                f"DeepSpeed config {kind}.enabled: {enabled}, the config train.precision "
                f'{launch.precision}: change one of the two, or write "auto" in DeepSpeed\'s'
            )


def _check_offload(zero: dict[str, Any]) -> None:
    for kind in ("offload_optimizer", "offload_param"):
        device = zero.get(kind, {}).get("device", "none")
        if device not in ("none", "cpu"):
            raise TrainingError(
                f"DeepSpeed config {kind}.device: {device}: only cpu is supported here"
            )


def _refuse_auto(section: dict[str, Any], path: str = "") -> None:
    for key, value in section.items():
        if isinstance(value, dict):
            _refuse_auto(value, f"{path}{key}.")
        elif value == "auto":
            raise TrainingError(
                f"DeepSpeed config {path}{key}: auto: nothing fills it in; give a value or drop it"
            )
