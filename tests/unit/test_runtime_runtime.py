"""The seam of a step in one process; several processes are in tests/dist."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lnln_dist.errors import CheckpointError, TrainingError
from lnln_dist.runtime import FullState, Runtime


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime(cpu=True)
    yield made
    made.close()


def fitted(runtime: Runtime) -> tuple[nn.Module, torch.optim.Optimizer]:
    net = nn.Linear(2, 1)
    return runtime.prepare(net, torch.optim.SGD(net.parameters(), lr=1.0))


def test_a_step_clips_to_the_norm_and_tells_the_one_before(runtime: Runtime) -> None:
    net, optimizer = fitted(runtime)
    before = [p.detach().clone() for p in net.parameters()]
    loss = net(torch.tensor([[30.0, 40.0]])).sum()
    runtime.backward(loss)
    result = runtime.check_clip_step(net, optimizer, terms={"a": loss}, clip_norm=0.5)
    assert result.grad_norm == pytest.approx((30**2 + 40**2 + 1) ** 0.5)
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, net.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-4)
    assert result.terms == {"a": pytest.approx(loss.item())}


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nothing_is_updated_when_something_is_not_finite(runtime: Runtime, where: str) -> None:
    net, optimizer = fitted(runtime)
    before = [p.detach().clone() for p in net.parameters()]
    loss = net(torch.ones(1, 2)).sum()
    runtime.backward(loss)
    if where == "gradient":
        next(net.parameters()).grad[0, 0] = float("inf")
    terms = {"a": loss * float("nan") if where == "loss" else loss}
    with pytest.raises(TrainingError, match=f"{where} not finite before the update") as caught:
        runtime.check_clip_step(net, optimizer, terms=terms, clip_norm=1.0)
    helps = ["optim.lr", "fp32"]
    helps += ["train.precision", "columns"] if where == "loss" else ["optim.clip_norm"]
    assert all(remedy in str(caught.value) for remedy in helps)
    assert all(map(torch.equal, before, net.parameters()))


def test_what_is_only_shown_may_be_undefined(runtime: Runtime) -> None:
    net, optimizer = fitted(runtime)
    loss = net(torch.ones(1, 2)).sum()
    runtime.backward(loss)
    shown = {"own/share": loss.detach() * float("nan"), "own/size": torch.tensor(2.0)}
    found = runtime.check_clip_step(net, optimizer, terms={"a": loss}, shown=shown, clip_norm=0)
    assert found.terms == {
        "a": pytest.approx(loss.item()),
        "own/share": pytest.approx(float("nan"), nan_ok=True),
        "own/size": 2,
    }


def test_bf16_runs_the_forward_pass_in_bf16() -> None:
    half = Runtime(precision="bf16", cpu=True)
    try:
        with half.autocast():
            assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    finally:
        half.close()


def test_going_on_from_a_full_state_equals_not_stopping(runtime: Runtime) -> None:
    def start(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        return net, torch.optim.AdamW(net.parameters(), lr=0.1)

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        loss = net(torch.arange(6.0).reshape(2, 3)).square().sum()
        runtime.backward(loss)
        runtime.check_clip_step(net, optimizer, terms={"a": loss}, clip_norm=1.0)

    whole = runtime.prepare(*start(0))
    step(*whole)
    state = runtime.full_state(*whole)
    kept = {name: value.clone() for name, value in state.weights.items()}
    other = runtime.prepare(*start(1), state)
    for net, optimizer in (whole, other):
        step(net, optimizer)
    a, b = (net.state_dict() for net, _ in (whole, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    # Nothing in the state is the model's own memory.
    assert all(torch.equal(kept[name], state.weights[name]) for name in kept)
    assert "1.running_mean" in kept
    assert "exp_avg.0.weight" in state.slots


def test_another_network_is_refused(runtime: Runtime) -> None:
    net = nn.Linear(2, 1)
    start = FullState(weights={"weight": torch.zeros(3, 3), "bias": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"another network: .* size mismatch for weight"):
        runtime.prepare(net, torch.optim.SGD(net.parameters(), lr=1.0), start)


def test_evaluation_of_a_replicated_model_is_the_model_itself(runtime: Runtime) -> None:
    net, _ = fitted(runtime)
    with runtime.evaluation(net) as full:
        assert full is runtime.unwrap(net)


@pytest.mark.parametrize(
    ("failed", "backend", "world", "way"),
    [
        (True, "nccl", 2, "aborted"),
        (True, "gloo", 2, "left"),
        (True, "nccl", 1, "left"),
        (False, "nccl", 2, "left"),
    ],
)
def test_a_rank_that_fails_does_not_wait_for_the_others_cards(
    monkeypatch: pytest.MonkeyPatch, failed: bool, backend: str, world: int, way: str
) -> None:
    ways: list[str] = []
    made = Runtime(cpu=True)
    made.world = world
    core = torch.distributed.distributed_c10d
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(core, "_abort_process_group", lambda: ways.append("aborted"))
    monkeypatch.setattr(made._spread, "leave", lambda: ways.append("left"))
    made.close(failed=failed)
    assert ways == [way]


def test_without_a_way_to_abort_the_group_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Runtime(cpu=True)
    made.world = 2
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "nccl")
    monkeypatch.delattr(torch.distributed.distributed_c10d, "_abort_process_group")
    left: list[str] = []
    monkeypatch.setattr(made._spread, "leave", lambda: left.append("left"))
    made.close(failed=True)
    assert left == []
