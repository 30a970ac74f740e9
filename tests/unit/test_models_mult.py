"""Cross-modal transformers against their equations."""

import math

import pytest
import torch
from builders import random_batch
from networks import affine, mosi_network, norm, size, small_network, unlike, weigh
from torch import Tensor, nn

from lnln_dist.errors import ConfigError
from lnln_dist.models import mult
from lnln_dist.types import Batch

ORDER = ("text", "audio", "vision")


def make(**changes: object) -> nn.Module:
    return small_network("mult", kernel=3, depth=2, memory_depth=1, **changes)


def through(model: nn.Module, target: Tensor, source: Tensor | None, valid: Tensor) -> Tensor:
    for layer in model.layers:
        read = norm(target if source is None else source, layer.norm_streams)
        query = affine(norm(target, layer.norm_streams), layer.to_query)
        key, value = affine(read, layer.to_key), affine(read, layer.to_value)
        mixed = weigh(query, key, value, heads=2, valid=valid)
        target = target + affine(mixed, layer.to_out)
        inner = affine(norm(target, layer.norm_inner), layer.up).clamp(min=0)
        target = target + affine(inner, layer.down)
    return norm(target, model.norm)


def convolved(weight: Tensor, x_BTD: Tensor) -> Tensor:
    """Places t - 1, t, t + 1 of a stream, then positions, place by place."""
    width = weight.shape[0]
    rows = []
    for t in range(x_BTD.shape[1]):
        seen = [(t + k - 1, k) for k in range(3) if 0 <= t + k - 1 < x_BTD.shape[1]]
        row = sum(torch.einsum("bi,oi->bo", x_BTD[:, place], weight[..., k]) for place, k in seen)
        angles = [t / 10_000 ** (i // 2 * 2 / width) for i in range(width)]
        turn = [math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)]
        rows.append(width**0.5 * row + torch.tensor(turn, dtype=torch.float64))
    return torch.stack(rows, dim=1)


def equation(model: nn.Module, batch: Batch) -> Tensor:
    """Sample by sample, without padding."""
    text, total = batch.text, 0
    hidden = model.text_encoder(text.noisy_ids_BT, text.valid_BT, text.segments_BT)
    inputs = {"text": hidden, "audio": batch.audio.noisy(), "vision": batch.vision.noisy()}
    for row, label in enumerate(batch.label_B):
        streams = {}
        for m, x_BTD in inputs.items():
            length = int(getattr(batch, m).valid_BT[row].sum())
            streams[m] = convolved(model.convolve[m].weight, x_BTD[row : row + 1, :length])
        summaries = []
        for m in ORDER:
            full = {n: torch.ones(1, streams[n].shape[1], dtype=torch.bool) for n in ORDER}
            read = [
                through(model.cross[f"{n}_to_{m}"], streams[m], streams[n], full[n])
                for n in ORDER
                if n != m
            ]
            memory = through(model.memory[m], torch.cat(read, dim=2), None, full[m])
            summaries.append(memory[0, -1])
        z = torch.cat(summaries)
        z = z + affine(affine(z, model.up).clamp(min=0), model.down)
        total = total + (affine(z, model.sentiment)[0] - label) ** 2
    return total


def test_values_and_gradients_are_the_equations() -> None:
    assert unlike(make(), random_batch(), equation) == []


def read_itself(self, target_BID, source, valid_BJ):
    for layer in self.layers:
        target_BID = layer(target_BID, target_BID, None)
    return self.norm(target_BID)


def without_last_norm(self, target_BID, source, valid_BJ):
    for layer in self.layers:
        read = target_BID if source is None else source.x_BTD
        target_BID = layer(target_BID, read, valid_BJ[:, None, None])
    return target_BID


WRONG = {
    "the very last place": ("last_valid", lambda stream: stream.x_BTD[:, -1]),
    "the first place": ("last_valid", lambda stream: stream.x_BTD[:, 0]),
    "no positions": ("sines", lambda places, like: 0.0),
    "attention to padding": ("rearrange", lambda x, how: rearranged(x, how)),
    "other order": ("MODALITIES", ("audio", "text", "vision")),
}


def rearranged(x: Tensor, how: str) -> Tensor:
    found = mult.einops_rearrange(x, how)
    return torch.ones_like(found) if how == "b j -> b 1 1 j" else found


@pytest.mark.parametrize("name", WRONG)
def test_another_network_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mult, "einops_rearrange", mult.rearrange, raising=False)
    monkeypatch.setattr(mult, *WRONG[name])
    assert unlike(make(), random_batch(), equation)


@pytest.mark.parametrize("wrong", [read_itself, without_last_norm])
def test_another_transformer_is_noticed(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mult.CrossTransformer, "forward", wrong)
    assert unlike(make(), random_batch(), equation)


def test_dropout_acts_in_training_alone() -> None:
    model, batch = make(dropout=0.5), random_batch()
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


def test_its_size_is_that_of_the_equations() -> None:
    def transformer(d: int, depth: int) -> int:
        return depth * (4 * (d * d + d) + (4 * d + 1) * d + (d + 1) * 4 * d + 4 * d) + 2 * d

    d = 40
    wanted = (768 + 5 + 20) * d + 6 * transformer(d, 4) + 3 * transformer(2 * d, 3)
    wanted += 2 * (6 * d + 1) * 6 * d + 6 * d + 1
    assert size(mosi_network("mult")) == wanted


@pytest.mark.parametrize("change", [{"width": 41, "heads": 1}, {"heads": 3}, {"kernel": 2}])
def test_sizes_that_do_not_fit_are_one_line(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"must divide width|must be odd"):
        mosi_network("mult", **change)
