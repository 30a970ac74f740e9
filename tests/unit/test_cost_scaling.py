"""The printed tables say what the formulas say."""

from dataclasses import replace

import pytest
from cost_cases import LENGTHS, skeleton

from lnln_dist.cost import scaling
from lnln_dist.cost.memory import HEADROOM, activations, footprint, parameters_of
from lnln_dist.cost.traffic import NETWORKS, efficiency, seconds, step_traffic


def test_memory_rows_are_footprints() -> None:
    made = skeleton()
    counted = parameters_of(made, LENGTHS)
    head, *rows = scaling.memory_table(made, counted, LENGTHS)
    assert head == [
        "strategy",
        "GPUs",
        *(f"{p}, {n}" for p in ("fp32", "bf16") for n in (16, 64, 256)),
    ]
    named = {(row[0], row[1]): row for row in rows}
    kept = activations(made, size=256, lengths=LENGTHS, precision="fp32")
    used = footprint(counted, "zero2", world=1, precision="fp32", kept=kept, offload=True).device
    assert float(named["zero2 + offload", "1"][4]) == pytest.approx(used / 2**30, abs=0.05)
    assert set(named) == {("ddp", "1"), ("zero2 + offload", "1")} | {
        (s, "8") for s in ("ddp", "zero1", "zero2", "zero3", "fsdp2")
    }


def test_capacity_is_the_most_that_leaves_the_headroom() -> None:
    made = skeleton()
    counted = parameters_of(made, LENGTHS)
    head, *rows = scaling.capacity_table(made, counted, LENGTHS)
    assert head[3:] == [f"{n} GB card" for n in (8, 12, 16, 24, 40, 80)]
    row = next(row for row in rows if row[:3] == ["ddp", "8", "bf16"])

    def used(size: int) -> int:
        kept = activations(made, size=size, lengths=LENGTHS, precision="bf16")
        return footprint(counted, "ddp", world=8, precision="bf16", kept=kept).device

    most = int(row[3])
    assert used(most) + HEADROOM <= 8 * 2**30 < used(most + 1) + HEADROOM
    assert [int(n) for n in row[3:]] == sorted(int(n) for n in row[3:])


def test_a_model_too_large_for_a_card_has_no_capacity() -> None:
    made = skeleton()
    counted = replace(parameters_of(made, LENGTHS), trained=10**9)
    rows = scaling.capacity_table(made, counted, LENGTHS)[1:]
    cells = {tuple(row[:3]): row[3] for row in rows}
    assert cells["ddp", "8", "fp32"] == "-"
    assert int(cells["fsdp2", "8", "fp32"]) > 0


def test_scaling_rows_are_traffic_and_efficiency() -> None:
    made = skeleton()
    counted = parameters_of(made, LENGTHS)
    operations, network = 60e9, NETWORKS[1]
    head, *rows = scaling.scaling_table(counted, operations, network)
    assert head[1:] == ["1 GPU", "8 GPUs", "64 GPUs", "512 GPUs"]
    sent = step_traffic(counted, "zero1", world=64, precision="bf16")
    compute = 64 * operations / (0.3 * 989.4e12)
    found = efficiency(compute, seconds(sent, network, 64))
    expected = f"{sent.bytes / 1e6:.0f} MB, {100 * found.low:.0f}-{100 * found.high:.0f} %"
    assert next(row for row in rows if row[0] == "zero1")[3] == expected
    assert {row[1] for row in rows} == {"0 MB, 100-100 %"}


def test_a_card_without_a_known_peak_is_refused() -> None:
    counted = parameters_of(skeleton(), LENGTHS)
    with pytest.raises(ValueError, match="no peak known"):
        scaling.scaling_table(counted, 1.0, NETWORKS[0], card="abacus")


def test_markdown() -> None:
    text = scaling.markdown([["a", "b"], ["1", "2"]])
    assert text == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
