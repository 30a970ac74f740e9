"""One process's runtime; several processes are in tests/dist."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from lnln_dist.errors import DataError, TrainingError
from lnln_dist.runtime import Runtime


@pytest.fixture
def runtime():
    made = Runtime(cpu=True)
    yield made
    made.close()


def fitted(runtime: Runtime) -> tuple[nn.Module, torch.optim.Optimizer]:
    net = nn.Linear(2, 1)
    return runtime.prepare(net, torch.optim.SGD(net.parameters(), lr=1.0))


def test_seed_is_a_function_of_the_position(runtime: Runtime) -> None:
    def draw(*position: int) -> tuple[float, float, float]:
        runtime.seed(*position)
        return torch.rand(1).item(), float(np.random.rand()), random.random()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({draw(1, 2, 3), draw(1, 3, 2), draw(12, 3), draw(1, 2, 4)}) == 4


def test_a_step_clips_to_the_norm_and_tells_the_one_before(runtime: Runtime) -> None:
    net, optimizer = fitted(runtime)
    before = [p.detach().clone() for p in net.parameters()]
    loss = net(torch.tensor([[30.0, 40.0]])).sum()
    runtime.backward(loss)
    result = runtime.check_clip_step(net, optimizer, terms={"a": loss}, clip_norm=0.5)
    assert result.grad_norm == pytest.approx((30**2 + 40**2 + 1) ** 0.5)
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, net.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-4)
    assert result.terms == {"a": pytest.approx(loss.item())}


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nothing_is_updated_when_something_is_not_finite(runtime: Runtime, where: str) -> None:
    net, optimizer = fitted(runtime)
    before = [p.detach().clone() for p in net.parameters()]
    loss = net(torch.ones(1, 2)).sum()
    runtime.backward(loss)
    if where == "gradient":
        next(net.parameters()).grad[0, 0] = float("inf")
    terms = {"a": loss * float("nan") if where == "loss" else loss}
    with pytest.raises(TrainingError, match=f"{where} not finite before the update"):
        runtime.check_clip_step(net, optimizer, terms=terms, clip_norm=1.0)
    assert all(map(torch.equal, before, net.parameters()))


def test_fp16_without_a_gpu_is_refused() -> None:
    with pytest.raises(TrainingError, match="fp16 needs a GPU"):
        Runtime(precision="fp16", cpu=True)


def test_a_launcher_of_another_precision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(TrainingError, match="mixed_precision bf16"):
        Runtime(precision="fp32", cpu=True)


@pytest.mark.parametrize("name", ["ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"])
def test_an_unsupported_strategy_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(TrainingError, match="does not train with"):
        Runtime(cpu=True)


def test_bf16_runs_the_forward_pass_in_bf16(runtime: Runtime) -> None:
    runtime.close()
    half = Runtime(precision="bf16", cpu=True)
    with half.autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16


def test_on_main_returns_and_raises(runtime: Runtime) -> None:
    assert runtime.on_main(lambda: 3) == 3

    def fail() -> None:
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        runtime.on_main(fail)
