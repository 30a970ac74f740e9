"""Bytes on the wire against a ring run by hand, and efficiencies at their limits."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lnln_dist.cost.memory import Parameters
from lnln_dist.cost.traffic import (
    NETWORKS,
    Network,
    Traffic,
    efficiency,
    seconds,
    step_traffic,
)

COUNTED = Parameters(
    trained=1000, frozen=200, largest_unit=300, gathered=1800, units=3, unit_uses=5
)


def ring_reduce_scatter(values: list[list[int]]) -> int:
    """Chunks that each rank sends until every chunk is summed on one rank."""
    world, sent = len(values), 0
    for turn in range(world - 1):
        passed = [values[rank][(rank - turn) % world] for rank in range(world)]
        for rank in range(world):
            values[(rank + 1) % world][(rank - turn) % world] += passed[rank]
        sent += 1
    return sent


@pytest.mark.parametrize("world", [2, 3, 8])
def test_a_ring_sends_what_the_formula_says(world: int) -> None:
    values = [[10**rank] * world for rank in range(world)]
    sent = ring_reduce_scatter(values)
    total = sum(10**rank for rank in range(world))
    assert all(values[(chunk - 1) % world][chunk] == total for chunk in range(world))
    # The all-gather passes the sums on in as many turns; a chunk is 1 / world of the gradients.
    share = 2 * sent / world
    found = step_traffic(COUNTED, "ddp", world=world, precision="fp32")
    assert found.bytes == pytest.approx(share * 4 * COUNTED.trained)


def test_ddp_reduces_every_trained_float32_gradient_once() -> None:
    net = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10))
    net[0].bias.requires_grad_(False)
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    seen = []

    def note(_: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        seen.append(bucket.buffer().nbytes)
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net)
        wrapped.register_comm_hook(None, note)
        wrapped(torch.ones(2, 30)).sum().backward()
    finally:
        dist.destroy_process_group()
    counted = Parameters(trained, 20, 0, 0, 1, 1)
    assert sum(seen) == step_traffic(counted, "ddp", world=2, precision="bf16").bytes


def test_strategies_by_hand() -> None:
    def sent(strategy: str, micro_batches: int = 1, precision: str = "bf16") -> float:
        found = step_traffic(
            COUNTED, strategy, world=4, precision=precision, micro_batches=micro_batches
        )
        return found.bytes / 0.75

    assert sent("ddp") == sent("ddp", 5) == 8 * 1000
    assert sent("zero1") == sent("zero1", 5) == 2 * 2 * 1000
    assert (sent("zero2"), sent("zero2", 5)) == (2 * 2 * 1000, 6 * 2 * 1000)
    assert sent("zero2", precision="fp32") == 2 * 4 * 1000
    assert sent("zero3") == 2 * (2 * 1800 + 1000)
    assert sent("zero3", 5) == 5 * sent("zero3")
    assert sent("fsdp2", 5) == 5 * (2 * 2 * 1800 + 4 * 1000)


@pytest.mark.parametrize("strategy", ["ddp", "zero1", "zero2", "zero3", "fsdp2"])
def test_one_gpu_sends_nothing_and_loses_nothing(strategy: str) -> None:
    sent = step_traffic(COUNTED, strategy, world=1, precision="bf16")
    assert sent == Traffic(0.0, 0)
    found = efficiency(1.0, seconds(sent, NETWORKS[0], 1))
    assert (found.low, found.high) == (1.0, 1.0)


def test_the_slowest_link_sets_the_pace() -> None:
    network = Network(name="x", per_node=8, inside=100.0, between=10.0, latency=0.5)
    sent = Traffic(1000.0, 2)
    assert seconds(sent, network, 8) == pytest.approx(10 + 2 * 3 * 0.5)
    assert seconds(sent, network, 16) == pytest.approx(100 + 2 * 4 * 0.5)


def test_efficiency_between_no_overlap_and_hidden_behind_the_backward_pass() -> None:
    hidden = efficiency(3.0, 2.0)
    assert (hidden.low, hidden.high) == (pytest.approx(0.6), 1.0)
    slow = efficiency(3.0, 8.0)
    assert (slow.low, slow.high) == (pytest.approx(3 / 11), pytest.approx(3 / 9))
