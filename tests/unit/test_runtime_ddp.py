"""DDP with one process, and the end of a run whose fp16 steps overflow."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lnln_dist.errors import TrainingError
from lnln_dist.runtime import Runtime
from lnln_dist.runtime.ddp import MOST_SKIPS, Ddp


@pytest.fixture
def strategy() -> Iterator[Ddp]:
    runtime = Runtime(cpu=True)
    yield Ddp(runtime.accelerator)
    runtime.close()


def test_one_process_is_not_wrapped(strategy: Ddp) -> None:
    net = nn.Linear(2, 1)
    wrapped, optimizer = strategy.wrap(net, torch.optim.AdamW(net.parameters()), None)
    assert strategy.unwrap(wrapped) is net
    assert strategy.slots(optimizer, net.weight) == {}
    with strategy.accumulate(wrapped, last=False):
        strategy.backward(wrapped(torch.ones(1, 2)).sum())
    assert strategy.gradient_norm(wrapped, optimizer) == pytest.approx(3**0.5)
    assert not strategy.update(wrapped, optimizer, norm=3**0.5, clip_norm=0)
    slots = strategy.slots(optimizer, net.weight)
    assert set(slots) == {"exp_avg", "exp_avg_sq", "step"}
    strategy.put_slots(optimizer, net.weight, {k: v + 1 for k, v in slots.items()})
    assert strategy.slots(optimizer, net.weight)["step"] == 2


def test_one_optimizer_of_several_clips_and_updates_its_own_and_forgets_all(strategy: Ddp) -> None:
    net = nn.Linear(2, 1)
    before = [p.detach().clone() for p in net.parameters()]
    wrapped, optimizer = strategy.wrap(net, torch.optim.SGD([net.bias], lr=1.0), None)
    strategy.backward(3 * wrapped(torch.ones(1, 2)).sum())
    norm = float(strategy.gradient_norm(wrapped, optimizer))
    assert norm == pytest.approx(3)
    strategy.update(wrapped, optimizer, norm=norm, clip_norm=1.5)
    assert torch.equal(net.weight, before[0])
    torch.testing.assert_close(net.bias, before[1] - 1.5)
    assert net.weight.grad is None and net.bias.grad is None


def test_too_many_skipped_steps_end_the_run(strategy: Ddp) -> None:
    net = nn.Linear(1, 1)
    skips: Any = SimpleNamespace(step=lambda: None, param_groups=[], step_was_skipped=True)
    for _ in range(MOST_SKIPS):
        assert strategy.update(net, skips, norm=float("inf"), clip_norm=1.0)
    skips.step_was_skipped = False
    assert not strategy.update(net, skips, norm=1.0, clip_norm=0)
    skips.step_was_skipped = True
    for _ in range(MOST_SKIPS):
        strategy.update(net, skips, norm=float("inf"), clip_norm=1.0)
    with pytest.raises(TrainingError, match="fp16 steps in a row overflowed"):
        strategy.update(net, skips, norm=float("inf"), clip_norm=1.0)
