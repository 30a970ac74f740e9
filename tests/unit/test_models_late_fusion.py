"""Late fusion against its equations."""

import pytest
import torch
from builders import random_batch
from networks import affine, mosi_network, size, small_network, unlike
from torch import Tensor, nn

from lnln_dist.config import MODALITIES
from lnln_dist.models import late_fusion
from lnln_dist.types import Batch


def make() -> nn.Module:
    return small_network("late_fusion", loss={"sentiment": 2.0, "unimodal": 0.5})


def equation(model: nn.Module, batch: Batch) -> Tensor:
    text = batch.text
    inputs = {
        "text": model.text_encoder(text.noisy_ids_BT, text.valid_BT, text.segments_BT),
        "audio": batch.audio.frames_BTD * batch.audio.keep_BT[..., None],
        "vision": batch.vision.frames_BTD * batch.vision.keep_BT[..., None],
    }
    blend, total, norm = 0, 0, model.shares.exp().sum()
    for share, modality in zip(model.shares.exp(), MODALITIES, strict=True):
        tokens = model.embed[modality](inputs[modality], getattr(batch, modality).valid_BT)
        score_B = affine(tokens.sum(dim=1) / 2, model.heads[modality])[:, 0]
        blend = blend + share / norm * score_B
        total = total + 0.5 * ((score_B - batch.label_B) ** 2).sum() / 3
    return total + 2.0 * ((blend - batch.label_B) ** 2).sum()


def test_values_and_gradients_are_the_equations() -> None:
    assert unlike(make(), random_batch(), equation) == []


def plain_mean(model, outputs):
    return torch.stack(outputs).mean(dim=0)


def unnormed(model, outputs):
    return model.shares.sigmoid() @ torch.stack(outputs)


def detached(model, outputs):
    return model.shares.softmax(dim=0) @ torch.stack(outputs).detach()


@pytest.mark.parametrize("wrong", [plain_mean, unnormed, detached])
def test_another_blend_is_noticed(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_fusion.LateFusion, "_blend", wrong)
    assert unlike(make(), random_batch(), equation)


def test_swapped_heads_are_noticed() -> None:
    model = make()
    model.heads["text"], model.heads["audio"] = model.heads["audio"], model.heads["text"]
    right = make()
    assert unlike(model, random_batch(), lambda _, batch: equation(right, batch))


def test_it_starts_as_the_mean_of_the_heads() -> None:
    model = mosi_network("late_fusion")
    assert model._blend([torch.tensor([x]) for x in (1.0, 2.0, 6.0)]).item() == pytest.approx(3.0)
    assert size(model) == 2_004_742
