"""A checkpoint goes on exactly in the same launch, and under another strategy or world size."""

import pytest
from comparing import equal, loss_gap, tensor_gap
from conftest import CROSSINGS, LONG, MIDDLE, SPREAD, STEPS, STRATEGIES, WITHIN, Table

pytestmark = [pytest.mark.dist, pytest.mark.timeout(900)]
LOSS, TENSOR = 2e-6, 5e-6
CHANGED = [
    *((2, f"2-{old}", f"{old} to {new}") for old, new in CROSSINGS),
    (2, "1-ddp", "1 ddp"),
    (2, "1-ddp", "1 ddp to fsdp2"),
    (2, "1-zero2", "1 zero2"),
    *((3, f"2-{name}", f"2 {name}") for name in STRATEGIES),
    *((1, f"2-{name}", f"2 {name}") for name in STRATEGIES),
]


@pytest.mark.parametrize("name", [*STRATEGIES, *(f"{name} bf16" for name in STRATEGIES)])
def test_the_same_launch_goes_on_bit_for_bit(table: Table, name: str) -> None:
    undisturbed, resumed = table(2, name), table(2, f"{name} again")
    assert 1 < len(resumed["losses"]) < len(undisturbed["losses"])
    assert equal(undisturbed, resumed)


@pytest.mark.parametrize("name", SPREAD)
def test_what_a_network_remembers_goes_on_bit_for_bit(table: Table, name: str) -> None:
    undisturbed, resumed = table(2, f"{name} self_mm"), table(2, f"{name} self_mm again")
    assert (undisturbed["weights"]["model.memory.visits_R"] >= LONG // 3).all()
    assert all(undisturbed["weights"]["model.memory.offset_RM"].abs().amax(dim=0) > 0)
    assert len(resumed["losses"]) == LONG - WITHIN
    assert equal(undisturbed, resumed)


@pytest.mark.parametrize(("world", "run", "name"), CHANGED)
def test_another_launch_goes_on_with_the_same_losses(
    table: Table, world: int, run: str, name: str
) -> None:
    ranks, _, strategy = run.partition("-")
    undisturbed, resumed = table(int(ranks), strategy), table(world, name)
    assert len(resumed["losses"]) == STEPS - MIDDLE
    assert loss_gap(undisturbed, resumed) < LOSS
    assert tensor_gap(undisturbed, resumed, "weights") < TENSOR
    assert tensor_gap(undisturbed, resumed, "slots") < TENSOR
