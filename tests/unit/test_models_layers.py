"""Transformer layers against formulas written out by hand."""

import pytest
import torch
from torch import nn

from lnln_dist.models.layers import Attention, Encoder, TokenTransformer, attend, reverse_gradient

SIZES = {"width": 6, "heads": 2, "head_width": 5}


def test_reversal_keeps_values_and_turns_gradients() -> None:
    x = torch.randn(3, requires_grad=True)
    y = reverse_gradient(x)
    assert torch.equal(x, y)
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.equal(x.grad, torch.tensor([-1.0, -2.0, -3.0]))


def test_attention_is_softmax_of_scaled_products_per_head() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, places, 6).double() for places in (3, 4, 4))
    mask = torch.tensor([True, False, True, True])[None, None, None]
    got = attend(query, key, value, heads=2, mask=mask)
    for head in (slice(0, 3), slice(3, 6)):
        scores = query[..., head] @ key[..., head].transpose(1, 2) / 3**0.5
        weights = scores.masked_fill(~mask[0, 0], -torch.inf).softmax(dim=-1)
        torch.testing.assert_close(got[..., head], weights @ value[..., head])


def test_attention_layers_own_three_norms_and_bias_the_output_only() -> None:
    torch.manual_seed(0)
    layer = Attention(**SIZES)
    for norm, factor in ((layer.norm_query, 2.0), (layer.norm_key, 3.0), (layer.norm_value, 5.0)):
        nn.init.constant_(norm.weight, factor)
    target, source = torch.randn(1, 2, 6), torch.randn(1, 4, 6)
    plain = nn.LayerNorm(6, elementwise_affine=False)
    query = layer.to_query(2 * plain(target))
    key, value = layer.to_key(3 * plain(source)), layer.to_value(5 * plain(source))
    expected = layer.to_out(attend(query, key, value, heads=2))
    torch.testing.assert_close(layer(target, source), expected)
    biased = {n for n, p in layer.named_parameters() if n.endswith("bias") and "norm" not in n}
    assert biased == {"to_out.bias"}


def test_an_encoder_returns_its_input_with_positions_first() -> None:
    encoder = Encoder(length=4, depth=3, **SIZES)
    x = torch.randn(2, 4, 6)
    states = encoder.states(x)
    assert len(states) == 4
    assert torch.equal(states[0], x + encoder.positions)
    assert torch.equal(states[-1], encoder(x))


def reference_tokens(model: TokenTransformer, x: torch.Tensor) -> torch.Tensor:
    """All places through all blocks, the extra tokens cut out at the end."""
    x = torch.cat([model.extra_tokens.expand(len(x), -1, -1), x], dim=1)
    x = x + model.positions[:, : x.shape[1]]
    for block in model.blocks:
        x = block(x, x)
    return x[:, : model.tokens]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_skipping_unread_places_of_the_last_block_changes_nothing(depth: int) -> None:
    torch.manual_seed(0)
    model = TokenTransformer(length=7, tokens=2, depth=depth, **SIZES).double()
    short, full = torch.randn(3, 5, 6).double(), torch.randn(3, 7, 6).double()
    for x in (short, full):
        torch.testing.assert_close(model(x), reference_tokens(model, x), rtol=0, atol=1e-12)


def test_hidden_places_are_as_good_as_absent_and_extra_tokens_stay_visible() -> None:
    torch.manual_seed(0)
    model = TokenTransformer(length=7, tokens=2, depth=2, **SIZES).double()
    x = torch.randn(2, 7, 6).double()
    valid = torch.tensor([[True] * 4 + [False] * 3, [False] * 7])
    got = model(x, valid)
    torch.testing.assert_close(got[:1], model(x[:1, :4]), rtol=0, atol=1e-12)
    torch.testing.assert_close(got[1:], model(x[1:, :0]), rtol=0, atol=1e-12)
