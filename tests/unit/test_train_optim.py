"""Parameter groups and learning rates."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lnln_dist.config import OptimConfig
from lnln_dist.errors import ConfigError
from lnln_dist.models.text import TextEncoder
from lnln_dist.specs.spec import Pass
from lnln_dist.train import optim


def encoder() -> TextEncoder:
    """One decayed and one plain parameter."""
    model = nn.Linear(3, 3)
    model.config = SimpleNamespace(hidden_size=3)
    return TextEncoder(model)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()
        self.head = nn.Linear(3, 1)
        self.norm = nn.LayerNorm(3)
        self.extra_tokens = nn.Parameter(torch.zeros(1, 8, 3))


@pytest.mark.parametrize("epochs", ["200", "50", "20", "7"])
def test_official_schedule_equals_the_reference(shared: Path, epochs: str) -> None:
    rates = json.loads((shared / "parity/learning_rate.json").read_text())[epochs]
    config = OptimConfig(schedule="official", lr=1e-4)
    for steps in (1, 3):
        ours = [
            1e-4 * optim.factor(config, step=s, steps_per_epoch=steps, epochs=int(epochs))
            for s in range(int(epochs) * steps)
        ]
        assert ours == pytest.approx([r for r in rates for _ in range(steps)], rel=1e-9, abs=1e-18)


def test_official_schedule_holds_the_peak_twice_and_starts_at_zero() -> None:
    shares = [optim.official_factor(e, 200) for e in range(200)]
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.05)
    assert shares[20] == shares[21] == 1.0
    assert shares[22] < 1.0


def test_cosine_warms_up_reaches_the_peak_and_falls() -> None:
    config = OptimConfig(warmup_share=0.1)
    shares = [optim.factor(config, step=s, steps_per_epoch=10, epochs=10) for s in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[9] == shares[10] == 1.0
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 < shares[-1] < 0.001


def test_constant_stays_at_the_peak() -> None:
    config = OptimConfig(schedule="constant", warmup_share=0.0)
    shares = {optim.factor(config, step=s, steps_per_epoch=4, epochs=2) for s in range(8)}
    assert shares == {1.0}


def test_groups_separate_encoder_and_decay() -> None:
    groups = optim.parameter_groups(Net(), OptimConfig(encoder_lr=1e-5, weight_decay=0.1))
    got = {g["name"]: (len(g["params"]), g["peak_lr"], g["weight_decay"]) for g in groups}
    assert got == {
        "encoder_decay": (1, 1e-5, 0.1),
        "encoder_plain": (1, 1e-5, 0.0),
        "rest_decay": (1, 1e-4, 0.1),
        "rest_plain": (4, 1e-4, 0.0),
    }


def test_an_optimizer_holds_what_its_pass_takes() -> None:
    net = Net()
    one = Pass(name="one", terms=("sentiment",), trains=("encoder.", "head."), spares=("head.b",))
    groups = optim.make_optimizer(net, OptimConfig(), one.takes).param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in (*net.encoder.parameters(), net.head.weight)}
    every = Pass(name="joint", terms=("sentiment",))
    groups = optim.make_optimizer(net, OptimConfig(), every.takes).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_decay_all_decays_everything() -> None:
    groups = optim.parameter_groups(Net(), OptimConfig(decay_all=True))
    assert {g["weight_decay"] for g in groups} == {1e-4}


def test_a_rate_for_a_frozen_encoder_is_refused() -> None:
    net = Net()
    net.encoder.requires_grad_(False)
    with pytest.raises(ConfigError, match="encoder_lr has no effect"):
        optim.parameter_groups(net, OptimConfig(encoder_lr=1e-5))


def test_set_rates_scales_each_peak() -> None:
    optimizer = optim.make_optimizer(Net(), OptimConfig(lr=1e-3, encoder_lr=1e-4))
    rates = optim.set_rates(optimizer, 0.5)
    assert rates["encoder_decay"] == pytest.approx(5e-5)
    assert rates["rest_plain"] == pytest.approx(5e-4)
