"""Gathering and scattering where parameters are cut, on one rank."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lnln_dist.runtime import FullState, Runtime


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
