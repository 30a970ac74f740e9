"""Whole states, and a model that is filled for as long as it is needed."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lnln_dist.errors import CheckpointError
from lnln_dist.runtime import FullState, Runtime
from lnln_dist.runtime.state import Template, install_weights, persistent_buffers, to_host


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.trained = nn.Linear(2, 2)
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("derived", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.trained(self.frozen(x)) * self.kept * self.derived


def test_a_copy_in_host_memory_is_float32_and_its_own() -> None:
    value = torch.ones(2, dtype=torch.bfloat16)
    copy = to_host(value)
    value += 1
    assert copy.dtype == torch.float32
    assert copy.tolist() == [1, 1]
    assert to_host(torch.tensor([1])).dtype == torch.int64
    single = torch.zeros(2)
    assert to_host(single).data_ptr() != single.data_ptr()


def test_only_persistent_buffers_belong_to_the_state() -> None:
    assert list(persistent_buffers(Net())) == ["kept"]


def test_a_filled_template_computes_as_the_model() -> None:
    net = Net()
    template = Template(net)
    with torch.no_grad():
        net.trained.weight += 1  # after the template was made, as training does
        net.derived *= 2
    x = torch.ones(1, 2)
    weights = {f"trained.{n}": p.detach() for n, p in net.trained.named_parameters()}
    for _ in range(2):
        with template.filled({**weights, **template.frozen}, dict(net.named_buffers())) as full:
            assert not full.training
            assert torch.equal(full(x), net(x))
        assert full.trained.weight.is_meta
        assert torch.equal(full.frozen.weight, net.frozen.weight)
    assert set(template.frozen) == {"frozen.weight", "frozen.bias"}


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"another network: .* Missing key\(s\)"):
        install_weights(Net(), {})


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime(cpu=True, strategy="fsdp2")
    yield made
    made.close()


def start(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    net.register_buffer("kept", torch.rand(2))
    return net, torch.optim.AdamW(net[1].parameters(), lr=0.1)


def test_what_is_scattered_is_what_is_gathered(runtime: Runtime) -> None:
    net, _ = start(0)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    slots = {
        f"{slot}.1.{name}": torch.rand(p.shape)
        for slot in ("exp_avg", "exp_avg_sq")
        for name, p in net[1].named_parameters()
    } | {f"step.1.{name}": torch.tensor(4.0) for name in ("weight", "bias")}
    prepared = runtime.prepare(*start(1), FullState(weights=weights, slots=slots))
    full = runtime.full_state(*prepared)
    for given, found in ((weights, full.weights), (slots, full.slots)):
        assert given.keys() == found.keys()
        assert all(torch.equal(given[name], found[name]) for name in given)


def test_evaluation_sees_weights_buffers_and_frozen_parameters(runtime: Runtime) -> None:
    wanted, _ = start(0)
    net, _ = runtime.prepare(*start(0))
    for _ in range(2):
        with runtime.evaluation(net) as whole:
            found = whole.state_dict()
            assert all(torch.equal(value, found[n]) for n, value in wanted.state_dict().items())
    assert next(whole[1].parameters()).is_meta
