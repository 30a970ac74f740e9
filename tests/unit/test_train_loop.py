"""One optimizer step, and how often the host waits for the device in it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from builders import random_batch, single, small_model
from torch import nn

from lnln_dist.config import OptimConfig, TrainConfig
from lnln_dist.losses import weighted_sum
from lnln_dist.monitor.health import Meter
from lnln_dist.runtime import Runtime
from lnln_dist.specs.spec import Pass
from lnln_dist.train import optim
from lnln_dist.train.checkpoint import TrainState
from lnln_dist.train.leaving import Notice
from lnln_dist.train.loop import train_step
from lnln_dist.train.task import Task
from lnln_dist.types import Batch, Losses

# Ways by which Python reads a tensor: each waits for what the device still has to do.
READING = ("item", "tolist", "cpu", "numpy", "nonzero", "__float__", "__int__", "__bool__")


def set_up(runtime: Runtime, network: nn.Module) -> Any:
    """What a step needs of a ``Training``."""
    task = Task(network)
    wrapped, optimizer = runtime.prepare(task, optim.make_optimizer(task, OptimConfig(lr=0.1)))
    return SimpleNamespace(
        config=SimpleNamespace(train=TrainConfig(), optim=OptimConfig(clip_norm=0.1)),
        runtime=runtime,
        task=wrapped.train(),
        passes=[Pass(name="joint", terms=tuple(network.weights))],
        optimizers=[optimizer],
        state=TrainState(),
        notice=Notice(),
        meter=Meter(),
        operations=None,
    )


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_the_host_waits_for_the_device_once_a_step(
    monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    runtime = Runtime(cpu=True, strategy=strategy)
    run = set_up(runtime, small_model().float())
    optimizer = run.optimizers[0]
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


class Noting(nn.Module):
    """One weight; remembers what it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = {"sentiment": 1.0}
        self.weight = nn.Parameter(torch.zeros(1))
        self.told: list[tuple[list[int], dict[str, Any], float]] = []

    def losses(self, batch: Batch) -> Losses:
        error_B = (self.weight - batch.label_B) ** 2
        noted = {"double": 2 * batch.row_B, "pair": torch.stack([error_B, batch.label_B], dim=1)}
        return Losses({"sentiment": weighted_sum(error_B, batch.weight_B)}, self.weights, {}, noted)

    def learn(self, row_B: torch.Tensor, noted: dict[str, torch.Tensor]) -> None:
        assert not torch.is_grad_enabled()
        self.told.append((row_B.tolist(), dict(noted), self.weight.item()))


def test_what_is_noted_of_samples_that_count_is_told_once_a_step_after_the_update() -> None:
    runtime = Runtime(cpu=True)
    network = Noting()
    run = set_up(runtime, network)
    optim.set_rates(run.optimizers[0], 1)
    first, filler, last = (single(random_batch(seed=seed)) for seed in (1, 2, 3))
    none = torch.zeros_like(filler.weight_B)
    batches = [
        first._replace(row_B=torch.tensor([9, 4, 7])),
        filler._replace(weight_B=none),
        last._replace(row_B=torch.tensor([1, 0, 3]), weight_B=torch.tensor([1.0, 0.0, 0.5])),
    ]
    train_step(run, batches, 5)
    runtime.close()
    [(rows, noted, weight)] = network.told
    assert rows == [9, 4, 7, 1, 3]
    assert noted["double"].tolist() == [18, 8, 14, 2, 6]
    label = torch.cat([first.label_B, last.label_B[[0, 2]]])
    assert torch.equal(noted["pair"], torch.stack([label**2, label], dim=1))
    assert not noted["pair"].requires_grad
    assert weight != 0
