"""What the launcher and the config ask for, checked before any process group exists.

Accelerate turns several launches into something else without a word. Whatever can be seen to
contradict the config, or would be ignored, stops the run here with one line.
"""

import importlib.util
import os
from dataclasses import dataclass
from typing import Any, Literal

import torch

from lnln_dist.config import Strategy
from lnln_dist.errors import TrainingError, install
from lnln_dist.runtime.launcher import Environment, check_alone, read_launcher

Precision = Literal["fp32", "bf16", "fp16"]

ACCELERATE_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
# Variables of the launcher that Accelerate itself must not act on: the strategies do.
HIDDEN = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP")
DEVICE = "LNLN_DEVICE"  # cpu or cuda: what a launch script was asked for
SHARDED = ("zero3", "fsdp2")  # no card holds all weights
_WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What is to be set up; the same on every rank."""

    precision: Precision
    strategy: Strategy
    offload: bool
    """ZeRO: optimizer state in host memory."""
    on_cpu: bool
    world: int
    deepspeed: dict[str, Any]
    """ZeRO: the launcher's DeepSpeed settings as it gave them."""

    @property
    def sharded(self) -> bool:
        """Whether no rank is to hold all weights on its device."""
        return self.strategy in SHARDED

    @property
    def stage(self) -> int:
        """ZeRO stage; 0 without ZeRO."""
        return int(self.strategy[-1]) if self.strategy.startswith("zero") else 0


def read_launch(
    *,
    precision: Precision,
    strategy: Strategy | Literal["auto"] = "auto",
    offload: bool = False,
    cpu: bool | None = None,
    environment: Environment = os.environ,
) -> Launch:
    """Reads the launcher's environment and holds it against the config.

    Args:
        precision: ``train.precision``.
        strategy: ``train.strategy``; auto is what the launcher asks for, else DDP.
        offload: ``train.offload``; a launcher may ask for it, too.
        cpu: run on the CPU; None uses a GPU where there is one.
        environment: variables of this process.

    Raises:
        TrainingError: launcher and config contradict each other, or the launch would silently
            become another one.
    """
    on_cpu = _on_cpu(cpu, environment)
    _check_precision(precision, on_cpu, environment)
    asked, deepspeed = read_launcher(environment)
    if asked and strategy not in ("auto", asked):
        raise TrainingError(
            f"accelerate launch asks for {asked}, the config for train.strategy {strategy}: "
            "change one of the two"
        )
    chosen = asked or ("ddp" if strategy == "auto" else strategy)
    by_launcher = deepspeed.get("zero_optimization", {}).get("offload_optimizer", {})
    launch = Launch(
        precision=precision,
        strategy=chosen,
        offload=offload or by_launcher.get("device", "none") == "cpu",
        on_cpu=on_cpu,
        world=next((int(environment[n]) for n in _WORLD_SIZES if n in environment), 1),
        deepspeed=deepspeed,
    )
    _check_strategy(launch)
    if not any(name in environment for name in _WORLD_SIZES):
        check_alone(environment)
    elif not on_cpu and int(environment.get("LOCAL_RANK", "0")) >= torch.cuda.device_count():
        raise TrainingError(
            f"more processes on this machine than its {torch.cuda.device_count()} GPUs: start one "
            "process per GPU"
        )
    return launch


def _on_cpu(cpu: bool | None, environment: Environment) -> bool:
    asked = environment.get(DEVICE)
    by_launcher = environment.get("ACCELERATE_USE_CPU", "false").lower() in ("true", "1", "yes")
    if asked == "cuda" and (by_launcher if cpu is None else cpu):
        raise TrainingError(
            "the launch asks for GPUs, training for the CPU (--cpu or use_cpu): drop one of the two"
        )
    if asked == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            f"the launch asks for GPUs, but torch {torch.__version__} sees none on this machine: "
            "look at nvidia-smi and CUDA_VISIBLE_DEVICES, or start with --cpu N"
        )
    if cpu is not None:
        return cpu
    return by_launcher or asked == "cpu" or not torch.cuda.is_available()


def _check_precision(precision: Precision, on_cpu: bool, environment: Environment) -> None:
    if precision == "fp16" and on_cpu:
        raise TrainingError(
            "train.precision fp16 needs a GPU (a CPU would run fp32 in silence): use bf16 or fp32"
        )
    if precision == "bf16" and not on_cpu and not torch.cuda.is_bf16_supported(False):
        raise TrainingError("this GPU has no bf16: set train.precision to fp16 or fp32")
    asked = environment.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in (ACCELERATE_PRECISION[precision], "no"):
        raise TrainingError(
            f"accelerate launch says mixed_precision {asked}, the config train.precision "
            f"{precision}: set train.precision to match"
        )


def _check_strategy(launch: Launch) -> None:
    name = launch.strategy
    if launch.offload and not launch.stage:
        raise TrainingError(
            f"train.offload has no effect with {name}: set train.strategy to zero1, zero2 or zero3"
        )
    if launch.precision == "fp16" and name != "ddp":
        raise TrainingError(f"train.precision fp16 works with ddp only, not {name}: use bf16")
    if launch.stage and importlib.util.find_spec("deepspeed") is None:
        raise TrainingError(
            f"{name} needs DeepSpeed, which is not installed: {install('deepspeed')}"
        )
    if launch.stage and launch.on_cpu and torch.cuda.is_available():
        raise TrainingError(
            f"{name} on the CPU of a machine with GPUs: hide them with CUDA_VISIBLE_DEVICES="
        )
