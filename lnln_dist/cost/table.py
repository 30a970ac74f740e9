"""Memory per strategy on paper, as one table."""

from collections.abc import Iterator

from lnln_dist.config import Strategy
from lnln_dist.cost.cards import Precision
from lnln_dist.cost.memory import (
    HEADROOM,
    STRATEGIES,
    Activations,
    activations,
    footprint,
    sizes_of,
)
from lnln_dist.cost.skeleton import Lengths, Skeleton

GIB = 2**30
SAMPLES = 64  # of a micro-batch
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
CARDS = (8, 12, 16, 24, 40, 80)  # GiB
# Strategy, GPUs, offloading: one GPU first, then a host of eight.
LAUNCHES: tuple[tuple[Strategy, int, bool], ...] = (
    ("ddp", 1, False),
    ("zero2", 1, True),
    *((strategy, 8, False) for strategy in STRATEGIES),
)


def memory_table(skeleton: Skeleton, lengths: Lengths) -> Iterator[list[str]]:
    """Rows by launch and precision, header first; all estimated.

    GiB of a GPU with ``SAMPLES`` in its micro-batch, and the most samples that leave ``HEADROOM``
    of a card alone, as activations grow by the same bytes with every sample.
    """
    yield [
        *("strategy", "GPUs", "precision", f"GiB with {SAMPLES}"),
        *(f"{size} GB card" for size in CARDS),
    ]
    counted = sizes_of(skeleton.model)
    for strategy, world, offload in LAUNCHES:
        for precision in PRECISIONS:

            def used(kept: Activations) -> int:
                return footprint(
                    counted,
                    strategy,  # noqa: B023 called within the loop
                    world=world,  # noqa: B023
                    precision=precision,  # noqa: B023
                    kept=kept,
                    offload=offload,  # noqa: B023
                ).device

            one, two, many = (
                activations(skeleton, size=n, lengths=lengths, precision=precision)
                for n in (1, 2, SAMPLES)
            )
            each = two.samples - one.samples
            room = [1 + (size * GIB - HEADROOM - used(one)) // each for size in CARDS]
            name = strategy + (" + offload" if offload else "")
            most = [str(n) if n > 0 else "-" for n in room]
            yield [name, str(world), precision, f"{used(many) / GIB:.1f}", *most]
