"""ALMT against its equations, and its size against the released code's."""

import pytest
import torch
from builders import random_batch
from networks import affine, mosi_network, norm, size, small_network, unlike, weigh
from torch import Tensor, nn

from lnln_dist.models import hyper
from lnln_dist.models.parts import Fusion
from lnln_dist.types import Batch


def make() -> nn.Module:
    return small_network("almt", hyper_depth=3, fusion_depth=2)


def block(layer: nn.Module, target: Tensor, source: Tensor) -> Tensor:
    """t + Attention(t, s), then + FeedForward."""
    attention, forward = layer.attention, layer.feed_forward
    query = affine(norm(target, attention.norm_query), attention.to_query)
    key = affine(norm(source, attention.norm_key), attention.to_key)
    value = affine(norm(source, attention.norm_value), attention.to_value)
    target = target + affine(weigh(query, key, value, heads=2), attention.to_out)
    inner = affine(norm(target, forward.norm), forward.up)
    inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
    return target + affine(inner, forward.down)


def equation(model: nn.Module, batch: Batch) -> Tensor:
    text = batch.text
    hidden = model.text_encoder(text.noisy_ids_BT, text.valid_BT, text.segments_BT)
    language = model.embed["text"](hidden, text.valid_BT) + model.language.positions
    sides = {m: getattr(batch, m) for m in ("audio", "vision")}
    sides = {m: model.embed[m](x.noisy(), x.valid_BT) for m, x in sides.items()}
    state = model.hyper.start
    for depth, layer in enumerate(model.hyper.layers):
        query = affine(norm(language, layer.norms["dominant"]), layer.to_query)
        read = 0
        for side, feature in sides.items():
            normed = norm(feature, layer.norms[side])
            key, value = affine(normed, layer.to_key[side]), affine(normed, layer.to_value[side])
            read = read + weigh(query, key, value, heads=2)
        state = norm(state, layer.norms["hyper"]) + affine(read, layer.to_out)
        if depth < 2:
            language = block(model.language.blocks[depth], language, language)
    extra = model.fusion.extra_token.expand(len(language), -1, -1)
    source = torch.cat([extra, state], dim=1) + model.fusion.source_positions
    target = torch.cat([extra, language], dim=1) + model.fusion.target_positions
    for layer in model.fusion.blocks:
        target = block(layer, target, source)
    return ((affine(target[:, 0], model.sentiment)[:, 0] - batch.label_B) ** 2).sum()


def test_values_and_gradients_are_the_equations() -> None:
    assert unlike(make(), random_batch(), equation) == []


def tokens_read(self, source, target):
    found = Fusion.__dict__["right"](self, source, target)
    return found.roll(-1, dims=1)


def swapped_streams(self, source, target):
    return Fusion.__dict__["right"](self, target, source)


def without_norm(self, dominant, audio, vision, state):
    query = self.to_query(self.norms["dominant"](dominant))
    read = self._read(query, "audio", audio) + self._read(query, "vision", vision)
    return state + self.to_out(read)


@pytest.mark.parametrize("wrong", [tokens_read, swapped_streams])
def test_another_fusion_is_noticed(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fusion, "right", Fusion.places, raising=False)
    monkeypatch.setattr(Fusion, "places", wrong)
    assert unlike(make(), random_batch(), equation)


def test_a_residual_without_norm_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyper.HyperLayer, "forward", without_norm)
    assert unlike(make(), random_batch(), equation)


def test_the_last_language_state_alone_is_noticed() -> None:
    model = make()
    original = model.language.states
    model.language.states = lambda x: [original(x)[-1]] * 3
    assert unlike(model, random_batch(), equation)


def test_exchanged_sides_are_noticed() -> None:
    model = make()
    right = model.hyper.forward
    model.hyper.forward = lambda states, audio, vision: right(states, vision, audio)
    assert unlike(model, random_batch(), equation)


def test_its_size_is_the_released_codes() -> None:
    # Counted once in the released modules with the settings of its mosi.yaml, BERT aside.
    assert size(mosi_network("almt")) == 2_603_649
