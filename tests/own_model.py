"""A model as a user writes one: a file outside the package, chosen by ``own_model:SPEC``.

The mean of the damaged audio frames through one layer, with a spread that it reports.
"""

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from lnln_dist.config import STRICT, Count, LossConfig, ModelConfig, NotNegative
from lnln_dist.losses import squared_error, weighted_sum
from lnln_dist.specs.registry import loss_weights
from lnln_dist.specs.spec import ModelSpec
from lnln_dist.types import Batch, Losses, Prediction


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OwnConfig(ModelConfig):
    """Audio and the first token's vector."""

    hidden: Count = 8
    """Width of the hidden layer."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OwnLoss(LossConfig):
    """Weights of two terms."""

    sentiment: NotNegative = 1.0
    """Mean squared error of the sentiment."""
    size: NotNegative = 0.01
    """Mean square of the hidden layer."""


class Own(nn.Module):
    """Predicts from audio and text."""

    def __init__(self, config, encoder, shapes) -> None:
        super().__init__()
        self.weights = loss_weights(config.loss)
        self.encoder = encoder
        self.hidden = nn.Linear(shapes.audio_width + encoder.width, config.model.hidden)
        self.head = nn.Linear(config.model.hidden, 1)

    def _hidden(self, batch: Batch) -> Tensor:
        text, audio = batch.text, batch.audio
        first_BD = self.encoder(text.noisy_ids_BT, text.valid_BT, text.segments_BT)[:, 0]
        count_B1 = audio.valid_BT.sum(dim=1, keepdim=True).clamp(min=1)
        mean_BD = audio.noisy().sum(dim=1) / count_B1
        return self.hidden(
            nn.functional.pad(first_BD, (mean_BD.shape[1], 0)) + _pad(mean_BD, first_BD)
        )

    def losses(self, batch: Batch) -> Losses:
        hidden_BD = self._hidden(batch)
        error_B = squared_error(self.head(hidden_BD.tanh())[:, 0], batch.label_B)
        terms = {
            "sentiment": weighted_sum(error_B, batch.weight_B),
            "size": weighted_sum((hidden_BD**2).mean(dim=1), batch.weight_B),
        }
        shown = {"own/hidden": weighted_sum(hidden_BD.detach().abs().mean(dim=1), batch.weight_B)}
        return Losses(terms, self.weights, shown)

    def predict(self, batch: Batch) -> Prediction:
        hidden_BD = self._hidden(batch)
        return Prediction(
            self.head(hidden_BD.tanh())[:, 0], {"energy": hidden_BD.abs().mean(dim=1)}
        )


def _pad(mean_BD: Tensor, first_BD: Tensor) -> Tensor:
    return nn.functional.pad(mean_BD, (0, first_BD.shape[1]))


SPEC = ModelSpec(
    config=OwnConfig,
    loss=OwnLoss,
    build=Own,
    extras=("energy",),
    without_effect=("noise.completeness", "noise.vision"),
)
