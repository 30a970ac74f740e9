"""Reading and writing DeepSpeed's flat partitions, with an engine that only holds them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lnln_dist.errors import CheckpointError
from lnln_dist.runtime.partitions import Partitions


def engine(*flat: Tensor) -> Any:
    written: list[tuple[Tensor, str | None]] = []
    held = SimpleNamespace(
        fp32_partitioned_groups_flat=list(flat),
        single_partition_of_fp32_groups=list(flat),
        optimizer=SimpleNamespace(state={f: {} for f in flat}),
        set_local_hp_param=lambda part, _, slot: written.append((part, slot)),
        written=written,
        links=0,
    )

    def link() -> None:
        assert not held._hp_optimizer_states_linked
        held.links += 1

    held._lazy_init_hp_params_optimizer_state = link
    return SimpleNamespace(optimizer=held)


def cut(size: int) -> Any:
    return SimpleNamespace(ds_tensor=torch.empty(size))


def slots(step: float) -> dict[str, Tensor]:
    return {"exp_avg": torch.arange(5.0), "exp_avg_sq": torch.ones(5), "step": torch.tensor(step)}


@pytest.mark.parametrize(("rank", "part"), [(0, [0, 1]), (1, [2, 3]), (2, [4, 0]), (3, [0, 0])])
def test_stage_3_takes_the_ranks_part_and_pads(
    monkeypatch: pytest.MonkeyPatch, rank: int, part: list[int]
) -> None:
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    held = engine(torch.zeros(2))
    Partitions(held, stage=3).put(cut(2), torch.arange(5.0).reshape(5, 1), slot="exp_avg")
    [(written, slot)] = held.optimizer.written
    assert (written.tolist(), slot) == (part, "exp_avg")


def test_there_are_no_slots_before_the_first_step() -> None:
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    held = engine(torch.zeros(2))
    assert Partitions(held, stage=2).slots(nn.Parameter(torch.zeros(2))) == {}
    assert held.optimizer.links == 0


def test_every_partition_counts_its_own_steps() -> None:
    flat = torch.zeros(3), torch.zeros(4)
    held = engine(*flat)
    seen: list[tuple[list[float], str]] = []
    parameter: Any = SimpleNamespace(
        set_full_hp_param=lambda value, slot: seen.append((value.tolist(), slot))
    )
    partitions = Partitions(held, stage=2)
    partitions.put_slots(parameter, slots(7))
    partitions.put_slots(parameter, slots(7))
    assert seen[0] == ([0, 1, 2, 3, 4], "exp_avg")
    assert [slot for _, slot in seen] == ["exp_avg", "exp_avg_sq"] * 2
    assert held.optimizer.links == 1
    state = held.optimizer.optimizer.state
    assert [tuple(state[f]["exp_avg"].shape) for f in flat] == [(3,), (4,)]
    state[flat[0]]["step"] += 1
    assert [float(state[f]["step"]) for f in flat] == [8, 7]


def test_different_step_counts_cannot_share_a_partition() -> None:
    partitions = Partitions(engine(torch.zeros(3)), stage=2)
    parameter: Any = SimpleNamespace(set_full_hp_param=lambda value, slot: None)
    partitions.put_slots(parameter, slots(7))
    with pytest.raises(CheckpointError, match="updated different numbers of times"):
        partitions.put_slots(parameter, slots(8))
