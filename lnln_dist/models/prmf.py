"""P-RMF (ACL 2025): a proxy made of three variational embeddings leads the fusion.

    h_m = Embedding_m(damaged x_m), c_m = Embedding_m(complete x_m)               [N, D]
    e = Transformer(ReLU(Linear(h_m))), mu_m = Linear(e), log var_m = Linear(e)    within +-10
    r_m = Linear(Transformer(ReLU(Linear(mu_m + sigma_m noise))))
    a_m = softmax over m of 1 / sigma_m, elementwise;   p_0 = sum_m a_m mu_m
    o = p + sum_m a_m Attention_m(p, h_m),  p <- o + Dropout(Linear(LN(o)))        some rounds
    y = Linear(Dropout(ReLU(Linear(mean of p over the tokens))))
Loss: squared error of y; 0.1 of Transformer_m(h_m) against c_m; 0.5 of a third of
    sum_m (|r_m - c_m|^2 + KL(q_m, N(0, 1))) + KL(q_v, q_t) + KL(q_a, q_t) + KL(q_a, q_v),
each a mean over N and D, with q_m = N(mu_m, sigma_m^2). Size: 7.83 M parameters outside BERT on
MOSI, as the released code (read in 1579364808/PRD-Net, folder P-RMF). What that code gets wrong is
a switch each (``specs/prmf.py``). It holds the shared layer under five names, here it has one. Its
own rate of 5e-6 for BERT is ``optim.encoder_lr``; its rate of 5e-6 for the fusion is not offered.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from einops import reduce
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, REGRESSION, Config, Modality, TaskConfig
from lnln_dist.losses import of_what_was_there, sentiment_error, squared_error, weighted_sum, wide
from lnln_dist.models.layers import attend, reverse_gradient
from lnln_dist.models.parts import plain_encoder
from lnln_dist.models.sentiment import SentimentHead, SentimentNetwork
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.prmf import PRMFConfig, PRMFLoss
from lnln_dist.types import Batch, Losses, SentenceEncoder

LIMIT = 10.0  # of a mean and of a log-variance
# Whose divergence from whom is a loss.
PAIRS: tuple[tuple[Modality, Modality], ...] = (
    ("vision", "text"),
    ("audio", "text"),
    ("audio", "vision"),
)
Features = Mapping[Modality, Tensor]  # [B, N, D] each


class Gaussian(NamedTuple):
    """Independent normal distributions, one per entry."""

    mean_BND: Tensor
    log_variance_BND: Tensor

    def sigma(self) -> Tensor:
        """Standard deviations, [B, N, D]."""
        return (self.log_variance_BND / 2).exp()


def divergence(one: Gaussian, other: Gaussian) -> Tensor:
    """Kullback-Leibler divergence of ``one`` from ``other``, the mean over entries, [B]."""
    log_ratio = wide(one.log_variance_BND) - wide(other.log_variance_BND)
    distance = (wide(one.mean_BND) - wide(other.mean_BND)) ** 2
    scaled = distance * (-wide(other.log_variance_BND)).exp()
    return reduce(log_ratio.exp() + scaled - 1 - log_ratio, "b n d -> b", "mean") / 2


def error(one_BND: Tensor, other_BND: Tensor) -> Tensor:
    """Squared error, the mean over entries, [B]."""
    return reduce(squared_error(one_BND, wide(other_BND)), "b n d -> b", "mean")


class Encoder(nn.Module):
    """A modality's feature tokens to the distribution of their latent."""

    def __init__(self, config: PRMFConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)
        self.transformer = plain_encoder(config, depth=config.vae_depth)
        self.to_mean = nn.Linear(config.width, config.width)
        self.to_log_variance = nn.Linear(config.width, config.width)

    def forward(self, x_BND: Tensor) -> Gaussian:
        """The latent distribution."""
        encoded = self.transformer(self.linear(x_BND).relu())
        mean, log_variance = self.to_mean(encoded), self.to_log_variance(encoded)
        return Gaussian(mean.clamp(-LIMIT, LIMIT), log_variance.clamp(-LIMIT, LIMIT))


class Decoder(nn.Module):
    """A draw of a modality's latent to its feature tokens."""

    def __init__(self, config: PRMFConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)
        self.transformer = plain_encoder(config, depth=config.vae_depth)
        self.to_feature = nn.Linear(config.width, config.width)

    def forward(self, latent: Gaussian) -> Tensor:
        """The rebuilt feature, [B, N, D]."""
        drawn = latent.mean_BND + latent.sigma() * torch.randn_like(latent.mean_BND)
        feature: Tensor = self.to_feature(self.transformer(self.linear(drawn).relu()))
        return feature


class ProxyAttention(nn.Module):
    """One head that lets the proxy read a modality; all its projections have biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_proxy, self.norm_source = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query, self.to_key = nn.Linear(width, width), nn.Linear(width, width)
        self.to_value, self.to_out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, proxy_BND: Tensor, source_BND: Tensor) -> Tensor:
        """What the proxy reads, [B, N, D]."""
        query = self.to_query(self.norm_proxy(proxy_BND))
        source = self.norm_source(source_BND)
        read = attend(query, self.to_key(source), self.to_value(source), heads=1)
        out: Tensor = self.to_out(read)
        return out


class FusionRound(nn.Module):
    """The proxy reads the three modalities by their shares."""

    def __init__(self, config: PRMFConfig) -> None:
        super().__init__()
        self.read = nn.ModuleDict({m: ProxyAttention(config.width) for m in MODALITIES})
        self.norm = nn.LayerNorm(config.width)
        self.linear = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, proxy_BND: Tensor, features: Features, shares: Features) -> Tensor:
        """The next proxy, [B, N, D]."""
        read = [shares[m] * self.read[m](proxy_BND, features[m]) for m in MODALITIES]
        out = torch.stack([proxy_BND, *read]).sum(dim=0)
        proxy: Tensor = out + self.dropout(self.linear(self.norm(out)))
        return proxy


class PRMF(SentimentNetwork):
    """Predicts from a proxy that trusts a modality the more the surer its embedding is."""

    def __init__(
        self,
        config: PRMFConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: PRMFLoss,
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__(encoder, shapes, loss=loss)
        self.config = config
        self.embed = self.embeddings(config)
        self.encoders = nn.ModuleDict({m: Encoder(config) for m in MODALITIES})
        self.decoders = nn.ModuleDict({m: Decoder(config) for m in MODALITIES})
        layers = 1 if config.share_rounds else config.fusion_rounds
        self.rounds = nn.ModuleList(FusionRound(config) for _ in range(layers))
        self.up = nn.Linear(config.width, config.width)
        self.sentiment = SentimentHead(config.width, task)
        self.dropout = nn.Dropout(config.dropout)
        self.reconstructors = nn.ModuleDict(
            {m: plain_encoder(config, depth=config.reconstructor_depth) for m in MODALITIES}
        )
        if not config.train_reconstructors:
            self.reconstructors.requires_grad_(False)

    def _features(self, batch: Batch, *, damaged: bool) -> Features:
        masked = self.config.mask_padding
        return {
            m: self.embed[m](stream.x_BTD, stream.valid_BT if masked else None)
            for m, stream in self.streams(batch, damaged=damaged).items()
        }

    def _shares(self, latents: Mapping[Modality, Gaussian]) -> Features:
        """How far each modality is trusted, entry by entry; they add up to 1."""
        sure = torch.stack([1 / wide(latents[m].sigma()) for m in MODALITIES])
        if self.config.blend == "softmax":
            shares = sure.softmax(dim=0)
        else:
            shares = sure.exp() / sure.exp().sum(dim=0)
        return dict(zip(MODALITIES, shares.to(latents["text"].mean_BND.dtype), strict=True))

    def _fuse(self, features: Features, latents: Mapping[Modality, Gaussian]) -> Tensor:
        """What the head says."""
        shares = self._shares(latents)
        proxy = torch.stack([shares[m] * latents[m].mean_BND for m in MODALITIES]).sum(dim=0)
        if self.config.reverse_proxy:
            proxy = reverse_gradient(proxy)
        for turn in range(self.config.fusion_rounds):
            proxy = self.rounds[turn % len(self.rounds)](proxy, features, shares)
        pooled_BD = self.up(reduce(proxy, "b n d -> b d", "mean")).relu()
        output: Tensor = self.sentiment(self.dropout(pooled_BD))
        return output

    def forward(self, batch: Batch) -> Tensor:
        """What the head says of the damaged input."""
        features = self._features(batch, damaged=True)
        return self._fuse(features, {m: self.encoders[m](features[m]) for m in MODALITIES})

    def losses(self, batch: Batch) -> Losses:
        """See ``types.Network``; shown are the modalities' mean shares."""
        features = self._features(batch, damaged=True)
        complete = self._features(batch, damaged=False)
        latents = {m: self.encoders[m](features[m]) for m in MODALITIES}
        unit = Gaussian(*(torch.zeros_like(x) for x in latents["text"]))
        parts = [divergence(latents[one], latents[other]) for one, other in PAIRS]
        for m in MODALITIES:
            drawn_B = error(self.decoders[m](latents[m]), complete[m])
            parts.append(of_what_was_there(drawn_B, getattr(batch, m)))
            parts.append(divergence(latents[m], unit))
        rebuilt = [
            of_what_was_there(
                error(self.reconstructors[m](features[m]), complete[m]), getattr(batch, m)
            )
            for m in MODALITIES
        ]
        per_sample = {
            "sentiment": sentiment_error(self._fuse(features, latents), batch),
            "reconstruction": torch.stack(rebuilt).mean(dim=0),
            "variational": torch.stack(parts).sum(dim=0) / len(MODALITIES),
        }
        trust = self._shares(latents)
        shares = {f"share/{m}": trust[m].detach().mean((1, 2)) for m in MODALITIES}
        return Losses(
            {name: weighted_sum(value, batch.weight_B) for name, value in per_sample.items()},
            self.weights,
            {name: weighted_sum(wide(value), batch.weight_B) for name, value in shares.items()},
        )


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> PRMF:
    """The network of a run's settings."""
    assert isinstance(config.model, PRMFConfig)
    assert isinstance(config.loss, PRMFLoss)
    return PRMF(config.model, encoder, shapes, loss=config.loss, task=config.task)
