"""ZeRO with one process, its config and its partitions; several processes are in tests/dist."""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from lnln_dist.errors import CheckpointError, TrainingError
from lnln_dist.runtime import Runtime
from lnln_dist.runtime.launch import Launch
from lnln_dist.runtime.zero import BUCKET, Partitions, Zero, deepspeed_config


def with_deepspeed(test: Any) -> Any:
    """For a test of the engine itself: skipped without DeepSpeed, deaf to DeepSpeed's warnings."""
    missing = importlib.util.find_spec("deepspeed") is None
    skipped = pytest.mark.skipif(missing, reason="deepspeed is not installed")
    return skipped(pytest.mark.filterwarnings("ignore")(test))


def start() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    groups = [{"params": [p], "name": name} for name, p in net.named_parameters()]
    return net, torch.optim.AdamW(groups, lr=0.1)


def train(strategy: str, *, pieces: int = 1) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Three steps of a micro-batch in ``pieces``; slots at the end and norms."""
    runtime = Runtime(cpu=True, strategy=strategy)
    try:
        net, optimizer = runtime.prepare(*start())
        norms = []
        for _ in range(3):
            for number in range(pieces):
                with runtime.accumulate(net, last=number == pieces - 1):
                    loss = net(torch.ones(2, 3)).square().sum() / pieces
                    runtime.backward(loss)
            result = runtime.check_clip_step(net, optimizer, terms={"a": loss}, clip_norm=0.1)
            norms.append(result.grad_norm)
        full = runtime.full_state(net, optimizer)
        return {**full.weights, **full.slots}, norms
    finally:
        runtime.close()


@pytest.fixture(scope="module")
def base() -> tuple[dict[str, torch.Tensor], list[float]]:
    return train("ddp")


@with_deepspeed
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_it_steps_as_one_process_does(
    base: tuple[dict[str, torch.Tensor], list[float]], strategy: str, pieces: int
) -> None:
    importlib.import_module("deepspeed")  # sets a variable for good
    linear, before = torch.nn.functional.linear, dict(os.environ)
    tensors, norms = train(strategy, pieces=pieces)
    assert norms == pytest.approx(base[1], rel=1e-5)
    assert tensors.keys() == base[0].keys()
    assert all(torch.allclose(base[0][name], tensors[name], atol=1e-6) for name in tensors)
    # Nothing is left behind in the process.
    assert torch.nn.functional.linear is linear
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()


@with_deepspeed
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_buffers_keep_their_digits_in_bf16(strategy: str) -> None:
    importlib.import_module("deepspeed")
    held = torch.tensor([1 / 3, 1e-3 / 7])
    runtime = Runtime(cpu=True, strategy=strategy, precision="bf16")
    try:
        net, optimizer = start()
        net.register_buffer("held", held.clone())
        wrapped, _ = runtime.prepare(net, optimizer)
        assert torch.equal(runtime.unwrap(wrapped).held, held)
        assert torch.equal(runtime.weights(wrapped)["held"], held)
    finally:
        runtime.close()


@pytest.fixture
def zero() -> Iterator[Zero]:
    runtime = Runtime(cpu=True, strategy="zero2")
    assert isinstance(runtime._spread, Zero)
    yield runtime._spread
    runtime.close()


@with_deepspeed
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("zero_optimization_stage", 1, "ZeRO stage 2, it set up 1"),
        ("zero_use_cpu_optimizer", True, "offload False, it set up True"),
        ("bfloat16_enabled", True, "bf16 False, it set up True"),
    ],
)
def test_an_engine_that_is_not_what_was_asked_for_is_refused(
    zero: Zero, name: str, value: Any, message: str
) -> None:
    found = {"zero_optimization_stage": 2, "zero_use_cpu_optimizer": False}
    found |= {"bfloat16_enabled": False, name: value}
    adamw = torch.optim.AdamW([torch.zeros(1)])
    zero._engine = SimpleNamespace(
        optimizer=SimpleNamespace(optimizer=adamw),
        destroy=lambda: None,
        **{key: lambda held=held: held for key, held in found.items()},
    )
    with pytest.raises(TrainingError, match=f"asked DeepSpeed for {message}"):
        zero._check()


@with_deepspeed
def test_a_skipped_update_is_an_error(zero: Zero) -> None:
    net, optimizer = start()
    zero._engine = SimpleNamespace(
        optimizer=SimpleNamespace(),
        step=lambda: None,
        was_step_applied=lambda: False,
        destroy=lambda: None,
    )
    with pytest.raises(TrainingError, match="skipped an update"):
        zero.update(net, optimizer, norm=1.0, clip_norm=0.5)


def made(stage: int = 2, given: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    launch = {
        "precision": "fp32",
        "strategy": f"zero{stage}",
        "offload": False,
        "on_cpu": True,
        "world": 2,
        "deepspeed": given or {},
        **changes,
    }
    return deepspeed_config(Launch(**launch))


def test_everything_is_filled_in() -> None:
    config = made()
    buckets = {"reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}
    assert config["zero_optimization"] == {"stage": 2, **buckets}
    released = {"stage3_max_reuse_distance": 0}
    assert made(3)["zero_optimization"] == {"stage": 3, "reduce_bucket_size": BUCKET, **released}
    assert config["gradient_accumulation_steps"] == config["train_micro_batch_size_per_gpu"] == 1
    assert config["gradient_clipping"] == 0
    assert config["bf16"] == {"enabled": False}
    assert "data_types" not in config


def test_tuning_of_the_launcher_is_kept_and_not_changed_in_place() -> None:
    given = {"zero_optimization": {"stage": 3, "reduce_bucket_size": 7}, "bf16": {}}
    config = made(3, given, precision="bf16")
    assert config["zero_optimization"]["reduce_bucket_size"] == 7
    assert config["bf16"] == {"enabled": True}
    assert given["bf16"] == {}


@pytest.mark.parametrize(("stage", "offload", "kept"), [(1, False, False), (1, True, True)])
def test_sums_over_micro_batches_keep_float32(stage: int, offload: bool, kept: bool) -> None:
    assert ("data_types" in made(stage, precision="bf16", offload=offload)) is kept
    assert made(2, precision="bf16")["data_types"] == {"grad_accum_dtype": "fp32"}


def test_offload_keeps_the_launchers_own_section() -> None:
    assert made(offload=True)["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    own = {"device": "cpu", "pin_memory": True}
    given = {"zero_optimization": {"stage": 2, "offload_optimizer": own}}
    assert made(2, given, offload=True)["zero_optimization"]["offload_optimizer"] == own


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gradient_accumulation_steps": 4}, "train.micro_batch"),
        ({"gradient_clipping": 1.0}, "optim.clip_norm"),
        ({"train_batch_size": 64}, "train.batch_size"),
        ({"optimizer": {"type": "AdamW"}}, "optim of the training config"),
        ({"bf16": {"enabled": True}}, "bf16.enabled: True, the config train.precision fp32"),
        ({"zero_optimization": {"stage": 3}}, "stage 3, the config for train.strategy zero2"),
        ({"zero_optimization": {"offload_param": {"device": "nvme"}}}, "only cpu is supported"),
        ({"zero_optimization": {"reduce_bucket_size": "auto"}}, "reduce_bucket_size: auto"),
        ({"zero_force_ds_cpu_optimizer": True}, "zero_force_ds_cpu_optimizer"),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        made(2, given)


def test_what_says_auto_or_the_same_is_fine() -> None:
    given = {
        "train_batch_size": "auto",
        "gradient_accumulation_steps": 1,
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": False},
    }
    assert made(2, given) == made(2)


CPU, NONE = torch.device("cpu"), cast("torch.optim.Optimizer", None)


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
    Partitions(held, stage=3, device=CPU).put(
        cut(2), torch.arange(5.0).reshape(5, 1), slot="exp_avg"
    )
    [(written, slot)] = held.optimizer.written
    assert (written.tolist(), slot) == (part, "exp_avg")


def test_there_are_no_slots_before_the_first_step() -> None:
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    held = engine(torch.zeros(2))
    assert Partitions(held, stage=2, device=CPU).slots(NONE, nn.Parameter(torch.zeros(2))) == {}
    assert held.optimizer.links == 0


def test_every_partition_counts_its_own_steps() -> None:
    flat = torch.zeros(3), torch.zeros(4)
    held = engine(*flat)
    seen: list[tuple[list[float], str]] = []
    parameter: Any = SimpleNamespace(
        set_full_hp_param=lambda value, slot: seen.append((value.tolist(), slot))
    )
    partitions = Partitions(held, stage=2, device=CPU)
    partitions.put_slots(NONE, parameter, slots(7))
    partitions.put_slots(NONE, parameter, slots(7))
    assert seen[0] == ([0, 1, 2, 3, 4], "exp_avg")
    assert [slot for _, slot in seen] == ["exp_avg", "exp_avg_sq"] * 2
    assert held.optimizer.links == 1
    state = held.optimizer.optimizer.state
    assert [tuple(state[f]["exp_avg"].shape) for f in flat] == [(3,), (4,)]
    state[flat[0]]["step"] += 1
    assert [float(state[f]["step"]) for f in flat] == [8, 7]


def test_different_step_counts_cannot_share_a_partition() -> None:
    partitions = Partitions(engine(torch.zeros(3)), stage=2, device=CPU)
    parameter: Any = SimpleNamespace(set_full_hp_param=lambda value, slot: None)
    partitions.put_slots(NONE, parameter, slots(7))
    with pytest.raises(CheckpointError, match="updated different numbers of times"):
        partitions.put_slots(NONE, parameter, slots(8))
