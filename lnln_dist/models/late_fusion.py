"""Late fusion: the plainest way to use three modalities, and what a fusion has to beat.

Source: the textbook baseline of the field, no single publication. For each modality m
    h_m = mean over the N tokens of ``parts.Embedding`` (LNLN's, spec section 3, step 1)
    y_m = Linear_m(h_m),    y = sum_m softmax(s)_m y_m
Loss: squared error of y, and the mean of the squared errors of the three y_m. The blend is learned
and not the mean, because text says far more than the others and a mean would hold it back; the
second term makes each head predict alone, without which s and the heads' scales were one thing.
Size: 2.00 M parameters outside the encoder on MOSI. There is no released code.
"""

import torch
from einops import reduce
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, REGRESSION, Config, TaskConfig
from lnln_dist.losses import sentiment_error, weighted_sum
from lnln_dist.models.sentiment import SentimentHead, SentimentNetwork
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.late_fusion import LateFusionConfig, LateFusionLoss
from lnln_dist.types import Batch, Losses, SentenceEncoder


class LateFusion(SentimentNetwork):
    """Predicts the sentiment from each modality and blends the three."""

    def __init__(
        self,
        config: LateFusionConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: LateFusionLoss,
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__(encoder, shapes, loss=loss)
        self.embed = self.embeddings(config)
        self.heads = nn.ModuleDict({m: SentimentHead(config.width, task) for m in MODALITIES})
        self.shares = nn.Parameter(torch.zeros(len(MODALITIES)))  # before the softmax

    def _outputs(self, batch: Batch) -> list[Tensor]:
        """What each modality's own head says."""
        streams = self.streams(batch)
        features = {
            m: reduce(self.embed[m](*streams[m]), "b n d -> b d", "mean") for m in MODALITIES
        }
        return [self.heads[m](features[m]) for m in MODALITIES]

    def _blend(self, outputs: list[Tensor]) -> Tensor:
        shares = self.shares.softmax(dim=0)
        return torch.stack([s * own for s, own in zip(shares, outputs, strict=True)]).sum(dim=0)

    def forward(self, batch: Batch) -> Tensor:
        """What the blended heads say of the damaged input."""
        return self._blend(self._outputs(batch))

    def losses(self, batch: Batch) -> Losses:
        """See ``types.Network``."""
        outputs = self._outputs(batch)
        per_sample = {
            "sentiment": sentiment_error(self._blend(outputs), batch),
            "unimodal": torch.stack([sentiment_error(own, batch) for own in outputs]).mean(dim=0),
        }
        terms = {name: weighted_sum(error, batch.weight_B) for name, error in per_sample.items()}
        return Losses(terms, self.weights, {})


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> LateFusion:
    """The network of a run's settings."""
    assert isinstance(config.model, LateFusionConfig)
    assert isinstance(config.loss, LateFusionLoss)
    return LateFusion(config.model, encoder, shapes, loss=config.loss, task=config.task)
