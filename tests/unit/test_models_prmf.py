"""P-RMF against its equations, and each defect of the released code as its switch."""

import dataclasses

import pytest
import torch
from builders import random_batch
from networks import affine, mosi_network, norm, size, small_network, unlike, weigh
from torch import Tensor, nn

from lnln_dist import settings
from lnln_dist.errors import ConfigError
from lnln_dist.models import prmf
from lnln_dist.recipes import check_recipe
from lnln_dist.specs.registry import make_config
from lnln_dist.types import Batch

ORDER = ("text", "audio", "vision")
LOSS = {"sentiment": 2.0, "reconstruction": 0.3, "variational": 0.7}
RELEASED = {
    "train_reconstructors": False,
    "blend": "exponential",
    "reverse_proxy": True,
    "mask_padding": False,
}


def make(**changes: object) -> nn.Module:
    return small_network("prmf", loss=LOSS, **changes)


@pytest.fixture(autouse=True)
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The draw of a latent is a wave, so that an equation can know it."""
    monkeypatch.setattr(torch, "randn_like", wave)


def wave(x: Tensor) -> Tensor:
    return torch.arange(x.numel(), dtype=x.dtype).sin().reshape(x.shape)


def embedded(model: nn.Module, batch: Batch, *, damaged: bool) -> dict[str, Tensor]:
    text, frames = batch.text, {"audio": batch.audio, "vision": batch.vision}
    ids = text.noisy_ids_BT if damaged else text.ids_BT
    inputs = {"text": model.text_encoder(ids, text.valid_BT, text.segments_BT)}
    inputs |= {m: x.noisy() if damaged else x.frames_BTD for m, x in frames.items()}
    return {m: model.embed[m](x, getattr(batch, m).valid_BT) for m, x in inputs.items()}


def kl(mean: Tensor, sigma: Tensor, mean_other: Tensor, sigma_other: Tensor) -> Tensor:
    one = torch.distributions.Normal(mean, sigma)
    other = torch.distributions.Normal(mean_other, sigma_other)
    return torch.distributions.kl_divergence(one, other).mean(dim=(1, 2)).sum()


def fused(model: nn.Module, h: dict[str, Tensor], mu: dict, sigma: dict) -> Tensor:
    trust = {m: (1 / sigma[m]).exp() for m in ORDER}
    trust = {m: trust[m] / sum(trust.values()) for m in ORDER}
    proxy = sum(trust[m] * mu[m] for m in ORDER)
    for turn in range(2):
        layer = model.rounds[turn % len(model.rounds)]
        out = proxy
        for m in ORDER:
            one = layer.read[m]
            source = norm(h[m], one.norm_source)
            query = affine(norm(proxy, one.norm_proxy), one.to_query)
            key, value = affine(source, one.to_key), affine(source, one.to_value)
            out = out + trust[m] * affine(weigh(query, key, value, heads=1), one.to_out)
        proxy = out + affine(norm(out, layer.norm), layer.linear)
    hidden = affine(proxy.sum(dim=1) / proxy.shape[1], model.up).clamp(min=0)
    return affine(hidden, model.sentiment)[:, 0]


def equation(model: nn.Module, batch: Batch) -> Tensor:
    h, c = (embedded(model, batch, damaged=damaged) for damaged in (True, False))
    mu, sigma, variational, rebuilt = {}, {}, 0, 0
    for m in ORDER:
        encoder, decoder = model.encoders[m], model.decoders[m]
        encoded = encoder.transformer(affine(h[m], encoder.linear).clamp(min=0))
        mu[m] = affine(encoded, encoder.to_mean).clamp(-10, 10)
        sigma[m] = affine(encoded, encoder.to_log_variance).clamp(-10, 10).exp() ** 0.5
        drawn = mu[m] + sigma[m] * wave(mu[m])
        decoded = decoder.transformer(affine(drawn, decoder.linear).clamp(min=0))
        error = (affine(decoded, decoder.to_feature) - c[m]) ** 2
        variational = variational + error.mean(dim=(1, 2)).sum()
        unit = torch.zeros_like(mu[m]), torch.ones_like(mu[m])
        variational = variational + kl(mu[m], sigma[m], *unit)
        error = (model.reconstructors[m](h[m]) - c[m]) ** 2
        rebuilt = rebuilt + error.mean(dim=(1, 2)).sum() / 3
    for one, other in (("vision", "text"), ("audio", "text"), ("audio", "vision")):
        variational = variational + kl(mu[one], sigma[one], mu[other], sigma[other])
    error = (fused(model, h, mu, sigma) - batch.label_B) ** 2
    return 2.0 * error.sum() + 0.3 * rebuilt + 0.7 * variational / 3


@pytest.mark.parametrize("share_rounds", [True, False])
def test_values_and_gradients_are_the_equations(share_rounds: bool) -> None:
    assert unlike(make(share_rounds=share_rounds), random_batch(), equation) == []


WRONG = {
    "divergence the other way": ("divergence", lambda one, other: right(other, one)),
    "a pair turned": ("PAIRS", (("text", "vision"), ("audio", "text"), ("audio", "vision"))),
    "a pair less": ("PAIRS", prmf.PAIRS[:2]),
    "attention with two heads": (
        "attend",
        lambda *x, heads: original_attend(*x, heads=2),
    ),
    "sum of entries for the mean": ("error", lambda a, b: ((a - b) ** 2).sum(dim=(1, 2))),
}
right, original_attend = prmf.divergence, prmf.attend


@pytest.mark.parametrize("name", WRONG)
def test_another_part_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prmf, *WRONG[name])
    assert "loss" in unlike(make(), random_batch(), equation)


def test_a_variance_for_a_deviation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prmf.Gaussian, "sigma", lambda self: self.log_variance_BND.exp())
    assert "loss" in unlike(make(), random_batch(), equation)


def test_the_reversal_turns_the_sentiments_gradient_and_no_value() -> None:
    batch = random_batch()
    slopes = []
    for reversed_ in (False, True):
        model = small_network("prmf", loss={**LOSS, "variational": 0.0}, reverse_proxy=reversed_)
        value = model.losses(batch).total()
        value.backward()
        mean = model.encoders["text"].to_mean
        slopes.append((value, mean.weight.grad, model.rounds[0].linear.weight.grad))
    (value, mean, later), (same, turned, kept) = slopes
    assert torch.equal(value, same)
    torch.testing.assert_close(later, kept)
    torch.testing.assert_close(turned, -mean)  # only the proxy leads there
    assert mean.abs().max() > 1e-6
    assert "loss" not in unlike(make(reverse_proxy=True), batch, equation)
    assert unlike(make(reverse_proxy=True), batch, equation)


def test_untrained_reconstructors_bend_the_embeddings_and_stay() -> None:
    model, batch = make(train_reconstructors=False), random_batch()
    model.losses(batch).terms["reconstruction"].backward()
    assert all(p.grad is None for p in model.reconstructors.parameters())
    assert model.embed["audio"].project.weight.grad.abs().max() > 1e-6


def test_the_released_blend_overflows_where_the_softmax_does_not() -> None:
    """1/sigma = e^5 = 148 is allowed by the clamp, and e^148 is beyond float32."""
    found = {}
    for blend in ("softmax", "exponential"):
        model = make(blend=blend).float()
        for m in ORDER:
            nn.init.constant_(model.encoders[m].to_log_variance.bias, -50.0)
        latents = {m: model.encoders[m](torch.ones(1, 2, 16)) for m in ORDER}
        found[blend] = model._shares(latents)["text"]
    assert torch.equal(found["softmax"], torch.full((1, 2, 16), 1 / 3))
    assert found["exponential"].isnan().all()
    batch = random_batch()  # where nothing overflows they are one
    assert unlike(make(blend="exponential"), batch, equation) == []


def test_padding_is_attended_only_where_told() -> None:
    model, batch = make(mask_padding=False), random_batch()
    assert not torch.equal(model.predict(batch).sentiment, make().predict(batch).sentiment)
    assert not model.config.hides_padding


def test_a_prediction_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", None)
    assert make().predict(random_batch()).sentiment.shape == (3,)


def test_its_size_is_the_released_codes() -> None:
    # Counted once in the released modules with the settings of train_mosi.yaml, BERT aside.
    assert size(mosi_network("prmf")) == 7_828_097
    layer = size(mosi_network("prmf").rounds)
    assert size(mosi_network("prmf", share_rounds=False)) == 7_828_097 + 3 * layer


def test_its_recipes_are_kept() -> None:
    check_recipe(make_config("prmf"))
    official = {
        "recipe": "official",
        "model": {"name": "prmf", **RELEASED},
        "data": {"padding": "corpus"},
        "optim": {"schedule": "official", "decay_all": True},
        "select": {"split": "test", "noise": "official"},
    }
    config = settings.build(official)
    check_recipe(config)
    with pytest.raises(ConfigError, match=r"model.blend is 'softmax', not 'exponential'"):
        check_recipe(
            dataclasses.replace(config, model=dataclasses.replace(config.model, blend="softmax"))
        )
