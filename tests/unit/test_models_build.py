"""What a spec builds has to be a network with the two verbs."""

import dataclasses

import pytest
import torch
from builders import SHAPES, random_batch, small_model
from own_model import SPEC
from torch import nn

from lnln_dist.errors import ConfigError
from lnln_dist.models import build, build_network
from lnln_dist.specs.registry import make_config


class Mute(nn.Module):
    def losses(self) -> None:
        """Half of the contract."""


@pytest.mark.parametrize(
    ("made", "message"),
    [(object(), "builds a object, not a nn.Module"), (Mute(), "the network of .* lacks predict")],
)
def test_anything_else_is_refused(
    made: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(SPEC, build=lambda *_: made)
    monkeypatch.setattr(build, "find_spec", lambda _: spec)
    with pytest.raises(ConfigError, match=message):
        build_network(make_config("own_model:SPEC"), nn.Identity(), SHAPES)


def test_both_verbs_of_lnln_say_what_its_forward_says() -> None:
    model, batch = small_model().eval(), random_batch()
    outputs = model(batch, complete=True)
    losses, prediction = model.losses(batch), model.predict(batch)
    assert torch.equal(prediction.sentiment, outputs.sentiment)
    assert torch.equal(prediction.extras["completeness"], outputs.completeness_B)
    assert losses.weights.keys() == losses.terms.keys()
    label = (1 - batch.text.rate_B).sum()
    torch.testing.assert_close(losses.shown["completeness/label"], label)
    shown = losses.shown["completeness/predicted"]
    torch.testing.assert_close(shown, outputs.completeness_B.sum().detach())
