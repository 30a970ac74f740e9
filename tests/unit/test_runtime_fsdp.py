"""FSDP2 with one process; several are in tests/dist."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from lnln_dist.errors import TrainingError
from lnln_dist.runtime import Runtime, fsdp
from lnln_dist.runtime.spread import SLOTS


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(False)])
        self.head = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        out: torch.Tensor = self.head(x)
        return out


def start() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = Net()
    trained = [p for p in net.parameters() if p.requires_grad]
    return net, torch.optim.AdamW(
        [{"params": trained[:1], "name": "a"}, {"params": trained[1:], "name": "b"}], lr=0.1
    )


def step(
    runtime: Runtime, net: nn.Module, optimizer: torch.optim.Optimizer, clip: float = 0.1
) -> float:
    loss = net(torch.ones(2, 3)).square().sum()
    runtime.backward(loss)
    return runtime.check_clip_step(net, optimizer, terms={"a": loss}, clip_norm=clip).grad_norm


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime(cpu=True, strategy="fsdp2")
    yield made
    made.close()


def test_it_steps_as_the_whole_model_does(runtime: Runtime) -> None:
    net, optimizer = runtime.prepare(*start())
    assert all(isinstance(p, DTensor) for p in net.parameters())
    assert [group["name"] for group in optimizer.param_groups] == ["a", "b"]
    norms = [step(runtime, net, optimizer) for _ in range(3)]
    full = runtime.full_state(net, optimizer)
    with runtime.evaluation(net) as module, runtime.without_gradients():
        assert all(isinstance(p, DTensor) for p in module.parameters())
        shown = module(torch.ones(1, 3))
    assert all(isinstance(p, DTensor) for p in net.parameters())
    again = runtime.full_state(net, optimizer)
    assert again.slots.keys() == full.slots.keys()
    runtime.close()

    plain = Runtime(cpu=True)
    base, base_optimizer = plain.prepare(*start())
    assert norms == pytest.approx([step(plain, base, base_optimizer) for _ in range(3)])
    wanted = plain.full_state(base, base_optimizer)
    plain.close()
    assert wanted.weights.keys() == full.weights.keys()
    assert wanted.slots.keys() == full.slots.keys()
    assert {key.partition(".")[0] for key in full.slots} == set(SLOTS)
    for kind in ("weights", "slots"):
        a, b = getattr(wanted, kind), getattr(full, kind)
        assert all(torch.allclose(a[name], b[name]) for name in a)
    assert torch.allclose(shown, base(torch.ones(1, 3)))


def test_nothing_is_updated_when_the_gradient_is_not_finite(runtime: Runtime) -> None:
    net, optimizer = runtime.prepare(*start())
    before = runtime.full_state(net, optimizer).weights
    loss = net(torch.ones(2, 3)).sum()
    runtime.backward(loss * float("inf"))
    with pytest.raises(TrainingError, match="gradient not finite"):
        runtime.check_clip_step(net, optimizer, terms={"a": loss}, clip_norm=1.0)
    after = runtime.full_state(net, optimizer).weights
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_that_stays_whole_is_refused(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsdp, "fully_shard", lambda module, **_: module)
    with pytest.raises(TrainingError, match=r"asked for fsdp2, but layers\.0\.weight"):
        runtime.prepare(*start())
