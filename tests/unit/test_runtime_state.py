"""Whole states: put together, and dealt out to ranks that never hold them whole."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lnln_dist.errors import CheckpointError, TrainingError
from lnln_dist.runtime import FullState, Runtime
from lnln_dist.runtime.state import install_weights, persistent_buffers, take_out, to_host


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


def test_evaluation_computes_as_the_whole_model(runtime: Runtime) -> None:
    wanted, _ = start(0)
    net, _ = runtime.prepare(*start(0))
    x = torch.ones(2, 3)
    net.train()
    with runtime.evaluation(net) as module, runtime.without_gradients():
        assert not module.training
        assert torch.equal(module(x), wanted(x))
    assert net.training
    runtime.backward(net(x).sum())  # and training goes on


def test_only_rank_0_needs_contents(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def make(contents: bool) -> nn.Module:
        asked.append(contents)
        return start(0)[0]

    assert not any(p.is_meta for p in runtime.build(make).parameters())
    monkeypatch.setattr(runtime, "is_main", False)
    monkeypatch.setattr(runtime, "broadcast_object", lambda _: (None, None))
    assert all(p.is_meta for p in runtime.build(make).parameters())
    assert asked == [True, False]


def test_a_model_that_looks_at_its_contents_cannot_be_sharded(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "is_main", False)
    monkeypatch.setattr(runtime, "broadcast_object", lambda _: (None, None))
    with pytest.raises(TrainingError, match="fsdp2 needs a model that can be built on torch's"):
        runtime.build(lambda _: nn.Linear(2, 2).weight.sum().item())


def test_what_is_taken_out_keeps_ties_and_comes_back(runtime: Runtime) -> None:
    net, optimizer = start(0)
    net[1].weight = net[0].weight
    optimizer = torch.optim.AdamW([net[0].weight], lr=0.1)
    wanted = {name: value.clone() for name, value in net.state_dict().items()}
    whole = take_out(runtime, net, optimizer)
    assert all(value.is_meta for value in net.state_dict().values())
    assert net[1].weight is net[0].weight is optimizer.param_groups[0]["params"][0]
    assert all(torch.equal(whole(name), wanted[name]) for name in ("0.weight", "1.bias", "kept"))
