"""A model of the text alone; audio and vision are not looked at.

Source: the ablation "w/o audio, w/o vision" that robust-MSA papers lack; not a published model.
Encoder -> ``parts.Embedding`` (LNLN's, spec section 3, step 1) -> mean over the N tokens ->
Linear(d, 1). Loss: mean squared error of the sentiment.
"""

from einops import reduce
from torch import Tensor

from lnln_dist.config import REGRESSION, Config, TaskConfig
from lnln_dist.models.parts import Embedding
from lnln_dist.models.sentiment import SentimentHead, SentimentNetwork
from lnln_dist.models.shapes import InputShapes, check_lengths
from lnln_dist.specs.sentiment import SentimentLoss
from lnln_dist.specs.text import TextConfig
from lnln_dist.types import Batch, SentenceEncoder


class TextOnly(SentimentNetwork):
    """Predicts the sentiment from the damaged text."""

    def __init__(
        self,
        config: TextConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: SentimentLoss,
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__(encoder, shapes, loss=loss)
        self.embed = Embedding(config, width=encoder.width, length=shapes.text_length)
        self.sentiment = SentimentHead(config.width, task)

    def forward(self, batch: Batch) -> Tensor:
        """What the head says of the damaged text.

        Raises:
            DataError: a text is longer than the position table.
        """
        text = batch.text
        check_lengths(self.shapes, text=text.ids_BT)
        hidden_BTD = self.text_encoder(text.noisy_ids_BT, text.valid_BT, text.segments_BT)
        feature_BD = reduce(self.embed(hidden_BTD, text.valid_BT), "b n d -> b d", "mean")
        output: Tensor = self.sentiment(feature_BD)
        return output


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> TextOnly:
    """The network of a run's settings."""
    assert isinstance(config.model, TextConfig)
    assert isinstance(config.loss, SentimentLoss)
    return TextOnly(config.model, encoder, shapes, loss=config.loss, task=config.task)
