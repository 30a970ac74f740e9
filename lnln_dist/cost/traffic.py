"""Bytes on the wire per optimizer step, and the efficiency to expect from stated bandwidths.

A ring all-reduce of V bytes over N processes sends 2 V (N - 1) / N from each, a reduce-scatter or
an all-gather half of that (Patarasuk and Yuan, 2009, doi 10.1016/j.jpdc.2008.09.002); what each
strategy sends follows arXiv 1910.02054, section 7.
"""

import math
from dataclasses import dataclass

from lnln_dist.cost.cards import Precision
from lnln_dist.cost.memory import BUCKET, WIDE, Parameters, Strategy

DDP_BUCKET = 25 * 2**20  # bytes that DDP reduces at once


@dataclass(frozen=True)
class Traffic:
    """What one process sends in one optimizer step."""

    bytes: float
    collectives: int


@dataclass(frozen=True, kw_only=True)
class Network:
    """How GPUs are wired; bandwidths in bytes/s, one direction."""

    name: str
    per_node: int
    """GPUs of a host."""
    inside: float
    """Of one GPU to the others of its host."""
    between: float
    """Of one host to the others, all its adapters together: a ring crosses it once per host."""
    latency: float
    """Seconds of one hop of a collective."""


NETWORKS = (
    Network(
        name="8 x H100 a host, NVLink 450 GB/s, 8 x 400 Gbit/s InfiniBand a host",
        per_node=8,
        inside=450e9,
        between=400e9,
        latency=1e-5,
    ),
    Network(
        name="8 x H100 a host, NVLink 450 GB/s, 100 Gbit/s Ethernet a host",
        per_node=8,
        inside=450e9,
        between=12.5e9,
        latency=3e-5,
    ),
)


def step_traffic(
    counted: Parameters,
    strategy: Strategy,
    *,
    world: int,
    precision: Precision,
    micro_batches: int = 1,
) -> Traffic:
    """What one of ``world`` processes sends in a step of ``micro_batches`` forward passes.

    DDP and ZeRO 1 reduce once per step; ZeRO 2 and the sharded strategies reduce after every
    micro-batch. ZeRO 3 and FSDP2 bring the weights together for every use, forward and backward:
    an upper bound, since weights that are needed again soon may be kept.

    Args:
        counted: of the network.
        strategy: who holds what.
        world: number of processes N.
        precision: arithmetic of the forward pass; weights travel in it. Gradients do with ZeRO,
            and in float32 with DDP and FSDP2.
        micro_batches: of one process in the step.
    """
    if world == 1:
        return Traffic(0.0, 0)
    narrow = WIDE if precision == "fp32" else 2
    ring = (world - 1) / world
    trained = counted.trained
    if strategy == "ddp":
        sent = 2 * WIDE * trained
        pieces = math.ceil(WIDE * trained / DDP_BUCKET)
    elif strategy in ("zero1", "zero2"):
        reductions = 1 if strategy == "zero1" else micro_batches
        sent = narrow * trained * (reductions + 1)
        pieces = (reductions + 1) * math.ceil(trained / BUCKET)
    else:
        gradient = narrow if strategy == "zero3" else WIDE
        # Weights for the forward and for the backward pass.
        sent = micro_batches * (2 * narrow * counted.gathered + gradient * trained)
        pieces = micro_batches * (2 * counted.unit_uses + counted.units)
    return Traffic(sent * ring, pieces)


def seconds(traffic: Traffic, network: Network, world: int) -> float:
    """Time of a step's communication if nothing else happens meanwhile.

    The slowest link of the ring sets the pace; each collective adds a tree's depth of hops.
    """
    if world == 1:
        return 0.0
    pace = network.inside if world <= network.per_node else min(network.inside, network.between)
    return (
        traffic.bytes / pace + traffic.collectives * math.ceil(math.log2(world)) * network.latency
    )


@dataclass(frozen=True)
class Efficiency:
    """Share of the time that computes, in [0, 1]: between no overlap and perfect overlap."""

    low: float
    high: float


def efficiency(compute_s: float, communicate_s: float) -> Efficiency:
    """Weak scaling efficiency of a step against one GPU.

    Args:
        compute_s: forward and backward pass of one GPU's share, in seconds.
        communicate_s: as ``seconds``. The backward pass (two thirds) can hide it at best.
    """
    exposed = max(0.0, communicate_s - 2 / 3 * compute_s)
    return Efficiency(compute_s / (compute_s + communicate_s), compute_s / (compute_s + exposed))
