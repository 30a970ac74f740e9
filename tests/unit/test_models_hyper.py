"""One hyper layer against its formula."""

import pytest
import torch

from lnln_dist.models.hyper import HyperLayer, HyperLearning


def heads_of(layer: HyperLayer, query: torch.Tensor, side: str, x: torch.Tensor) -> torch.Tensor:
    normed = layer.norms[side](x)
    key, value = layer.to_key[side](normed), layer.to_value[side](normed)
    mixed = []
    for start in range(0, 8, 4):
        cut = slice(start, start + 4)
        weights = (query[..., cut] @ key[..., cut].transpose(1, 2) / 2).softmax(dim=-1)
        mixed.append(weights @ value[..., cut])
    return torch.cat(mixed, dim=-1)


def test_a_layer_adds_one_projection_of_both_attentions_to_the_normed_feature() -> None:
    torch.manual_seed(0)
    layer = HyperLayer(width=8, heads=2).double()
    dominant, audio, vision, hyper = torch.randn(4, 3, 5, 8).double()
    query = layer.to_query(layer.norms["dominant"](dominant))
    both = heads_of(layer, query, "audio", audio) + heads_of(layer, query, "vision", vision)
    expected = layer.norms["hyper"](hyper) + layer.to_out(both)
    torch.testing.assert_close(layer(dominant, audio, vision, hyper), expected)


def test_there_is_one_layer_per_dominant_state() -> None:
    learning = HyperLearning(depth=3, tokens=5, width=8, heads=2)
    states = list(torch.randn(3, 2, 5, 8))
    audio, vision = torch.randn(2, 2, 5, 8)
    before = learning(states, audio, vision)
    assert before.shape == (2, 5, 8)
    for number in range(3):  # each state is read
        others = [s if n != number else -s for n, s in enumerate(states)]
        assert not torch.allclose(learning(others, audio, vision), before)
    with pytest.raises(ValueError, match="shorter"):
        learning(states[:2], audio, vision)
