"""The printed table says what the formulas say."""

import pytest
from cost_cases import LENGTHS, skeleton

from lnln_dist.cost import table
from lnln_dist.cost.memory import HEADROOM, Parameters, activations, footprint, sizes_of


def test_rows_are_footprints_and_the_most_that_leaves_the_headroom() -> None:
    made = skeleton()
    head, *rows = table.memory_table(made, LENGTHS)
    assert head[3:] == ["GiB with 64", *(f"{n} GB card" for n in (8, 12, 16, 24, 40, 80))]
    launches = [("ddp", "1"), ("zero2 + offload", "1")]
    launches += [(s, "8") for s in ("ddp", "zero1", "zero2", "zero3", "fsdp2")]
    assert [tuple(row[:3]) for row in rows] == [
        (*launch, precision) for launch in launches for precision in ("fp32", "bf16")
    ]
    named = {tuple(row[:3]): row[3:] for row in rows}

    def used(strategy: str, world: int, precision: str, size: int, **more: bool) -> int:
        kept = activations(made, size=size, lengths=LENGTHS, precision=precision)
        counted = sizes_of(made.model)
        return footprint(
            counted, strategy, world=world, precision=precision, kept=kept, **more
        ).device

    offloaded = used("zero2", 1, "fp32", 64, offload=True)
    assert named["zero2 + offload", "1", "fp32"][0] == f"{offloaded / 2**30:.1f}"
    cells = [int(n) for n in named["ddp", "8", "bf16"][1:]]
    most = cells[0]
    assert used("ddp", 8, "bf16", most) + HEADROOM <= 8 * 2**30
    assert used("ddp", 8, "bf16", most + 1) + HEADROOM > 8 * 2**30
    assert cells == sorted(cells)


def test_a_model_too_large_for_a_card_has_no_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "sizes_of", lambda _: Parameters(10**9, 0, 10**6))
    cells = {tuple(row[:3]): row[4] for row in table.memory_table(skeleton(), LENGTHS)}
    assert cells["ddp", "8", "fp32"] == "-"
    assert int(cells["fsdp2", "8", "fp32"]) > 0
