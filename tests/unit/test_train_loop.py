"""One optimizer step, and how often the host waits for the device in it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from builders import random_batch, single, small_model

from lnln_dist.config import OptimConfig, TrainConfig
from lnln_dist.monitor.health import Meter
from lnln_dist.runtime import Runtime
from lnln_dist.specs.spec import Pass
from lnln_dist.train import optim
from lnln_dist.train.checkpoint import TrainState
from lnln_dist.train.leaving import Notice
from lnln_dist.train.loop import train_step
from lnln_dist.train.task import Task

# Ways by which Python reads a tensor: each waits for what the device still has to do.
READING = ("item", "tolist", "cpu", "numpy", "nonzero", "__float__", "__int__", "__bool__")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_the_host_waits_for_the_device_once_a_step(
    monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    runtime = Runtime(cpu=True, strategy=strategy)
    task = Task(small_model().float())
    wrapped, optimizer = runtime.prepare(task, optim.make_optimizer(task, OptimConfig()))
    run: Any = SimpleNamespace(
        config=SimpleNamespace(train=TrainConfig(), optim=OptimConfig(clip_norm=0.1)),
        runtime=runtime,
        task=wrapped.train(),
        passes=[Pass(name="joint", terms=tuple(task.model.weights))],
        optimizers=[optimizer],
        state=TrainState(),
        notice=Notice(),
        meter=Meter(),
        operations=None,
    )
    batches = [single(random_batch(seed=seed)) for seed in (1, 2)]
    train_step(run, batches, 6)  # the first makes the optimizer's state

    host = {id(held["step"]) for held in optimizer.state.values()}  # AdamW's, never on a device
    read: list[str] = []

    def counting(name: str) -> Any:
        plain = getattr(torch.Tensor, name)

        def counted(tensor: torch.Tensor, *given: Any, **named: Any) -> Any:
            if id(tensor) not in host:
                read.append(name)
            return plain(tensor, *given, **named)

        return counted

    with monkeypatch.context() as patch:
        for name in READING:
            patch.setattr(torch.Tensor, name, counting(name))
        train_step(run, batches, 6)
    runtime.close()
    assert read == ["tolist"]
