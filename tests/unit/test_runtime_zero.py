"""ZeRO with one process; several are in tests/dist."""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lnln_dist.errors import TrainingError
from lnln_dist.runtime import Runtime
from lnln_dist.runtime.zero import Zero

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"
    ),
    pytest.mark.filterwarnings("ignore"),  # DeepSpeed's own
]


def start() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    groups = [{"params": [p], "name": name} for name, p in net.named_parameters()]
    return net, torch.optim.AdamW(groups, lr=0.1)


def train(strategy: str, *, pieces: int = 1) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Three steps of a micro-batch in ``pieces``; slots at the end and norms."""
    runtime = Runtime(cpu=True, strategy=strategy)
    try:
        net, optimizer = runtime.prepare(*start())
        norms = []
        for _ in range(3):
            for number in range(pieces):
                with runtime.accumulate(net, last=number == pieces - 1):
                    loss = net(torch.ones(2, 3)).square().sum() / pieces
                    runtime.backward(loss)
            result = runtime.check_clip_step(net, optimizer, terms={"a": loss}, clip_norm=0.1)
            norms.append(result.grad_norm)
        full = runtime.full_state(net, optimizer)
        return {**full.weights, **full.slots}, norms
    finally:
        runtime.close()


@pytest.fixture(scope="module")
def base() -> tuple[dict[str, torch.Tensor], list[float]]:
    return train("ddp")


@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_it_steps_as_one_process_does(
    base: tuple[dict[str, torch.Tensor], list[float]], strategy: str, pieces: int
) -> None:
    importlib.import_module("deepspeed")  # sets a variable for good
    linear, before = torch.nn.functional.linear, dict(os.environ)
    tensors, norms = train(strategy, pieces=pieces)
    assert norms == pytest.approx(base[1], rel=1e-5)
    assert tensors.keys() == base[0].keys()
    assert all(torch.allclose(base[0][name], tensors[name], atol=1e-6) for name in tensors)
    # Nothing is left behind in the process.
    assert torch.nn.functional.linear is linear
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()


@pytest.fixture
def zero() -> Iterator[Zero]:
    runtime = Runtime(cpu=True, strategy="zero2")
    assert isinstance(runtime._strategy, Zero)
    yield runtime._strategy
    runtime.close()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("zero_optimization_stage", 1, "ZeRO stage 2, it set up 1"),
        ("zero_use_cpu_optimizer", True, "offload False, it set up True"),
        ("bfloat16_enabled", True, "bf16 False, it set up True"),
    ],
)
def test_an_engine_that_is_not_what_was_asked_for_is_refused(
    zero: Zero, name: str, value: Any, message: str
) -> None:
    found = {"zero_optimization_stage": 2, "zero_use_cpu_optimizer": False}
    found |= {"bfloat16_enabled": False, name: value}
    adamw = torch.optim.AdamW([torch.zeros(1)])
    zero._engine = SimpleNamespace(
        optimizer=SimpleNamespace(optimizer=adamw),
        destroy=lambda: None,
        **{key: lambda held=held: held for key, held in found.items()},
    )
    with pytest.raises(TrainingError, match=f"asked DeepSpeed for {message}"):
        zero._check()


def test_a_skipped_update_is_an_error(zero: Zero) -> None:
    net, optimizer = start()
    zero._engine = SimpleNamespace(
        optimizer=SimpleNamespace(),
        step=lambda: None,
        was_step_applied=lambda: False,
        destroy=lambda: None,
    )
    with pytest.raises(TrainingError, match="skipped an update"):
        zero.update(net, optimizer, norm=1.0, clip_norm=0.5)
