"""Tensor fusion against its equations."""

from itertools import pairwise

import pytest
import torch
from builders import random_batch
from networks import affine, mosi_network, size, small_network, unlike
from torch import Tensor, nn

from lnln_dist.models import tfn
from lnln_dist.types import Batch


def make() -> nn.Module:
    return small_network("tfn")


def equation(model: nn.Module, batch: Batch) -> Tensor:
    text = batch.text
    inputs = {
        "text": model.text_encoder(text.noisy_ids_BT, text.valid_BT, text.segments_BT),
        "audio": batch.audio.noisy(),
        "vision": batch.vision.noisy(),
    }
    total = 0
    for row, label in enumerate(batch.label_B):
        vectors = {}
        for modality, x_BTD in inputs.items():
            feature = x_BTD[row][getattr(batch, modality).valid_BT[row]].mean(dim=0)
            for layer in list(model.features[modality])[::2]:
                feature = affine(feature, layer).clamp(min=0)
            vectors[modality] = torch.cat([feature, torch.ones(1).double()])
        products = [
            a * b * c for a in vectors["text"] for b in vectors["audio"] for c in vectors["vision"]
        ]
        hidden = affine(torch.stack(products), model.fused[0]).clamp(min=0)
        hidden = affine(hidden, model.fused[2]).clamp(min=0)
        total = total + (affine(hidden, model.sentiment)[0] - label) ** 2
    return total


def test_values_and_gradients_are_the_equations() -> None:
    assert unlike(make(), random_batch(), equation) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    {
        "padding counts in the mean": ("mean_of_valid", lambda s: s.x_BTD.mean(dim=1)),
        "the largest entry for the mean": ("mean_of_valid", lambda s: s.x_BTD.amax(dim=1)),
        "zero for one": ("pad", lambda x, size, value: nn.functional.pad(x, size)),
        "one in front": ("pad", lambda x, size, value: nn.functional.pad(x, (1, 0), value=1.0)),
        "vision before audio": ("MODALITIES", ("text", "vision", "audio")),
        "text last": ("MODALITIES", ("audio", "vision", "text")),
    }.values(),
)
def test_another_fusion_is_noticed(name: str, wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfn, name, wrong)
    assert unlike(make(), random_batch(), equation)


def test_dropout_acts_in_training_alone() -> None:
    model, batch = small_network("tfn", dropout=0.5), random_batch()
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


def test_its_size_is_that_of_the_equations() -> None:
    widths = {"text": (768, 128, 128), "audio": (5, 32, 32, 32), "vision": (20, 32, 32, 32)}
    layers = [(a, b) for sizes in widths.values() for a, b in pairwise(sizes)]
    layers += [(129 * 33 * 33, 128), (128, 128), (128, 1)]
    assert size(mosi_network("tfn")) == sum((a + 1) * b for a, b in layers)
