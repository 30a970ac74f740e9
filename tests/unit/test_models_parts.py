"""The named parts: what enters where."""

import torch
from builders import small_config
from torch import nn

from lnln_dist.models.parts import CompletenessCheck, Embedding, Fusion, ProxyGenerator, small_head


def test_the_small_heads_halve_the_width_and_leak() -> None:
    first, activation, last = small_head(128, 2)
    assert (first.in_features, first.out_features, last.in_features) == (128, 64, 64)
    assert isinstance(activation, nn.LeakyReLU) and activation.negative_slope == 0.1


def test_an_embedding_gives_feature_tokens_for_any_length_up_to_its_table() -> None:
    embedding = Embedding(small_config(), width=5, length=9)
    for places in (1, 9):
        assert embedding(torch.randn(3, places, 5), None).shape == (3, 2, 16)


def test_completeness_is_one_share_per_sample() -> None:
    share = CompletenessCheck(small_config())(torch.randn(4, 2, 16))
    assert share.shape == (4,) and ((share > 0) & (share < 1)).all()


def test_the_proxy_tells_audio_from_vision_and_starts_from_a_learned_feature() -> None:
    torch.manual_seed(0)
    proxy = ProxyGenerator(small_config())
    one, two = torch.randn(2, 3, 2, 16)
    assert not torch.allclose(proxy(one, two), proxy(two, one))
    before = proxy(one, two)
    nn.init.normal_(proxy.start)  # a constant would be normed away
    assert not torch.allclose(before, proxy(one, two))


def test_fusion_leaves_the_extra_token_out_of_the_mean() -> None:
    torch.manual_seed(0)
    fusion = Fusion(small_config(), depth=1)
    source, target = torch.randn(2, 3, 2, 16)
    before = fusion(source, target)
    with torch.no_grad():
        fusion.target_positions[:, 0] += torch.randn(16)  # only the extra token's own row
    assert torch.equal(before, fusion(source, target))
    with torch.no_grad():
        fusion.source_positions[:, 0] += torch.randn(16)  # here it is a key like any other
    assert not torch.allclose(before, fusion(source, target))
