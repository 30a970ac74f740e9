"""Helpers of all strategies."""

import math
from contextlib import nullcontext

import torch
from torch import nn

from lnln_dist.runtime.spread import cast_forward, signed_nan, trained


def test_a_cast_forward_returns_float32() -> None:
    net = nn.Linear(2, 2)
    cast_forward(net, lambda: torch.autocast("cpu", torch.bfloat16))
    out = net(torch.ones(1, 2))
    assert out.dtype == torch.float32
    assert torch.equal(out, out.bfloat16().float())  # but it was computed in bf16
    same = nn.Linear(2, 2)
    exact = same(torch.ones(1, 2))
    cast_forward(same, nullcontext)
    assert torch.equal(same(torch.ones(1, 2)), exact)


def test_trained_leaves_frozen_parameters_out() -> None:
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    assert list(trained(net)) == ["weight"]


def test_a_negative_norm_is_not_a_number() -> None:
    assert math.isnan(signed_nan(torch.tensor(-1.0)))
    assert math.isnan(signed_nan(torch.tensor(math.nan)))
    assert signed_nan(torch.tensor(2.0)) == 2
    assert signed_nan(torch.tensor(0.0)) == 0
