"""Launches that contradict the config, or would become something else in silence, are refused."""

import importlib.util

import pytest
import torch

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.launch import Launch, read_launch

DEEPSPEED = {
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
    "WORLD_SIZE": "2",
}
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "WORLD_SIZE": "2",
}
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"
)


def read(environment: dict[str, str] | None = None, **changes: object) -> Launch:
    given = {"precision": "fp32", "cpu": True, "environment": environment or {}, **changes}
    return read_launch(**given)


def test_without_a_launcher_it_is_one_process_of_ddp() -> None:
    launch = read()
    assert (launch.strategy, launch.world, launch.stage, launch.offload) == ("ddp", 1, 0, False)


@needs_deepspeed
def test_auto_follows_the_launcher() -> None:
    assert read(DEEPSPEED).strategy == "zero2"
    assert read({**DEEPSPEED, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}).stage == 3
    assert read(FSDP).strategy == "fsdp2"
    assert read({"WORLD_SIZE": "3"}).world == 3


@needs_deepspeed
def test_a_launcher_that_names_no_strategy_leaves_it_to_the_config() -> None:
    assert read({"WORLD_SIZE": "2"}, strategy="zero3").strategy == "zero3"


@needs_deepspeed
def test_the_launcher_may_ask_for_offload() -> None:
    asked = {**DEEPSPEED, "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"}
    assert read(asked).offload
    assert not read(DEEPSPEED).offload
    assert read(DEEPSPEED, offload=True).offload


@pytest.mark.parametrize(
    ("environment", "strategy"),
    [(DEEPSPEED, "ddp"), (DEEPSPEED, "zero3"), (FSDP, "zero2"), (FSDP, "ddp")],
)
def test_a_launcher_of_another_strategy_is_refused(
    environment: dict[str, str], strategy: str
) -> None:
    with pytest.raises(TrainingError, match=rf"asks for .*train\.strategy {strategy}"):
        read(environment, strategy=strategy)


def test_a_launcher_of_another_precision_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"mixed_precision bf16, the config train\.precision"):
        read({"ACCELERATE_MIXED_PRECISION": "bf16"})
    assert read({"ACCELERATE_MIXED_PRECISION": "bf16"}, precision="bf16").precision == "bf16"
    assert read({"ACCELERATE_MIXED_PRECISION": "no"}, precision="bf16").precision == "bf16"


def test_fp16_without_a_gpu_is_refused() -> None:
    with pytest.raises(TrainingError, match="fp16 needs a GPU"):
        read(precision="fp16")


def test_offload_without_zero_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"train\.offload has no effect with ddp"):
        read(offload=True)


def test_a_missing_deepspeed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TrainingError, match=r"pip install .*\[deepspeed\]"):
        read(strategy="zero2")


class Gpus:
    """Stands in for ``torch.cuda`` on a machine without GPUs."""

    def __init__(self, *, count: int, bf16: bool) -> None:
        self.count, self.bf16 = count, bf16

    def is_available(self) -> bool:
        return self.count > 0

    def device_count(self) -> int:
        return self.count

    def is_bf16_supported(self, including_emulation: bool) -> bool:
        assert not including_emulation
        return self.bf16


def test_gpus_are_used_unless_the_cpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", Gpus(count=1, bf16=True))
    assert not read(cpu=None).on_cpu
    assert read({"ACCELERATE_USE_CPU": "true"}, cpu=None).on_cpu
    assert read(cpu=True).on_cpu


def test_a_launch_on_gpus_does_not_end_up_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", Gpus(count=0, bf16=False))
    with pytest.raises(TrainingError, match=r"asks for GPUs, but torch .* sees none.*--cpu N"):
        read({"LNLN_DEVICE": "cuda"}, cpu=None)
    monkeypatch.setattr(torch, "cuda", Gpus(count=1, bf16=True))
    assert not read({"LNLN_DEVICE": "cuda"}, cpu=None).on_cpu
    assert read({"LNLN_DEVICE": "cpu"}, cpu=None).on_cpu
    for cpu, more in ((True, {}), (None, {"ACCELERATE_USE_CPU": "true"})):
        with pytest.raises(TrainingError, match="asks for GPUs, training for the CPU"):
            read({"LNLN_DEVICE": "cuda", **more}, cpu=cpu)


def test_what_the_gpus_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", Gpus(count=2, bf16=False))
    with pytest.raises(TrainingError, match="this GPU has no bf16"):
        read(cpu=None, precision="bf16")
    with pytest.raises(TrainingError, match="more processes on this machine than its 2 GPUs"):
        read({"WORLD_SIZE": "3", "LOCAL_RANK": "2"}, cpu=None)
    with pytest.raises(TrainingError, match="fp16 works with ddp only"):
        read(FSDP, cpu=None, precision="fp16")


@needs_deepspeed
def test_zero_on_the_cpu_of_a_gpu_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", Gpus(count=1, bf16=True))
    with pytest.raises(TrainingError, match="hide them with CUDA_VISIBLE_DEVICES="):
        read(strategy="zero2", cpu=True)
