"""Tables on paper: memory per strategy, and weak scaling to many GPUs."""

from collections.abc import Sequence

from lnln_dist.cost import cards, traffic
from lnln_dist.cost.cards import Precision
from lnln_dist.cost.memory import (
    HEADROOM,
    STRATEGIES,
    Activations,
    Parameters,
    Strategy,
    activations,
    footprint,
)
from lnln_dist.cost.skeleton import Lengths, Skeleton
from lnln_dist.cost.traffic import Network

WORLDS = (1, 8, 64, 512)
BATCHES = (16, 64, 256)
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
CARDS = (8, 12, 16, 24, 40, 80)  # GiB
UTILISATION = 0.3  # share of the peak that the computing is assumed to reach
CARD = "NVIDIA H100 80GB HBM3"
# Strategy, GPUs, offloading: one GPU first, then a host of eight.
LAUNCHES: tuple[tuple[Strategy, int, bool], ...] = (
    ("ddp", 1, False),
    ("zero2", 1, True),
    *((strategy, 8, False) for strategy in STRATEGIES),
)


def memory_table(skeleton: Skeleton, counted: Parameters, lengths: Lengths) -> list[list[str]]:
    """GiB per GPU by launch, precision and samples per GPU, header first; all estimated."""
    cells = [(precision, size) for precision in PRECISIONS for size in BATCHES]
    kept = {
        (precision, size): activations(skeleton, size=size, lengths=lengths, precision=precision)
        for precision, size in cells
    }
    rows = [["strategy", "GPUs", *(f"{precision}, {size}" for precision, size in cells)]]
    for strategy, world, offload in LAUNCHES:
        row = [strategy + (" + offload" if offload else ""), str(world)]
        for precision, size in cells:
            used = footprint(
                counted,
                strategy,
                world=world,
                precision=precision,
                kept=kept[precision, size],
                offload=offload,
            )
            row.append(f"{used.device / 2**30:.1f}")
        rows.append(row)
    return rows


def capacity_table(skeleton: Skeleton, counted: Parameters, lengths: Lengths) -> list[list[str]]:
    """Most samples of a GPU's micro-batch by launch, precision and card; all estimated.

    Activations grow by the same bytes with every sample; ``HEADROOM`` of a card is left alone.
    """
    rows = [["strategy", "GPUs", "precision", *(f"{size} GB card" for size in CARDS)]]
    grown: dict[Precision, tuple[Activations, int]] = {}
    for precision in PRECISIONS:
        one, two = (
            activations(skeleton, size=n, lengths=lengths, precision=precision) for n in (1, 2)
        )
        grown[precision] = one, two.samples - one.samples
    for strategy, world, offload in LAUNCHES:
        for precision in PRECISIONS:
            one, each = grown[precision]
            used = footprint(
                counted, strategy, world=world, precision=precision, kept=one, offload=offload
            ).device
            room = [1 + (size * 2**30 - HEADROOM - used) // each for size in CARDS]
            name = strategy + (" + offload" if offload else "")
            rows.append([name, str(world), precision, *(str(n) if n > 0 else "-" for n in room)])
    return rows


def scaling_table(
    counted: Parameters,
    flops_per_sample: float,
    network: Network,
    *,
    precision: Precision = "bf16",
    size: int = 64,
    card: str = CARD,
) -> list[list[str]]:
    """MB sent by a GPU per step and efficiency in percent (no overlap to perfect overlap).

    Weak scaling: every GPU computes ``size`` samples a step, however many there are; header
    first, all estimated.

    Raises:
        ValueError: the card's peak is not known.
    """
    best = cards.peak(card, precision)
    if best is None:
        raise ValueError(f"no peak known for {card} in {precision}")
    compute = size * flops_per_sample / (UTILISATION * best)
    rows = [["strategy", *(f"{world} GPU{'s' if world > 1 else ''}" for world in WORLDS)]]
    for strategy in STRATEGIES:
        row: list[str] = [strategy]
        for world in WORLDS:
            sent = traffic.step_traffic(counted, strategy, world=world, precision=precision)
            found = traffic.efficiency(compute, traffic.seconds(sent, network, world))
            row.append(f"{sent.bytes / 1e6:.0f} MB, {100 * found.low:.0f}-{100 * found.high:.0f} %")
        rows.append(row)
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row is the header."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
