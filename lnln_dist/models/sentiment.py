"""The head that predicts the sentiment, and what networks share whose loss is its error."""

from typing import NamedTuple

from einops import rearrange
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, LossConfig, Modality, TaskConfig
from lnln_dist.losses import sentiment_error, weighted_sum, wide
from lnln_dist.models.parts import Embedding
from lnln_dist.models.shapes import InputShapes, check_lengths
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.registry import loss_weights
from lnln_dist.types import Batch, Losses, Prediction, SentenceEncoder


class Stream(NamedTuple):
    """One modality's sequence."""

    x_BTD: Tensor  # token vectors or frames; erased frames are zero
    valid_BT: Tensor  # bool, False on padding


class SentimentHead(nn.Linear):
    """Reads the sentiment off a feature: a number, or a logit for each class of ``task.kind``."""

    def __init__(self, width: int, task: TaskConfig) -> None:
        super().__init__(width, task.classes or 1)

    def forward(self, feature_BD: Tensor) -> Tensor:
        """The number, [B], in the labels' unit; or logits, [B, C]."""
        output: Tensor = super().forward(feature_BD)
        return rearrange(output, "b 1 -> b") if self.out_features == 1 else output


def sentiment_of(output: Tensor) -> Tensor:
    """What a head's output says: the number [B] as it is, logits as probabilities [B, C]."""
    return output if output.ndim == 1 else wide(output).softmax(dim=1)


class SentimentNetwork(nn.Module):
    """The two verbs around ``forward(batch)``, which a subclass writes: a head's output.

    Args:
        encoder: the text encoder, a module.
        shapes: frame widths and longest sequences.
        loss: weights of the loss terms; a subclass with more than ``sentiment`` adds the others.
    """

    def __init__(self, encoder: SentenceEncoder, shapes: InputShapes, *, loss: LossConfig) -> None:
        super().__init__()
        self.shapes, self.weights = shapes, loss_weights(loss)
        self.text_encoder = encoder

    def widths(self) -> dict[Modality, int]:
        """Widths of the three streams."""
        shapes = self.shapes
        return {
            "text": self.text_encoder.width,
            "audio": shapes.audio_width,
            "vision": shapes.vision_width,
        }

    def embeddings(self, config: EmbeddingConfig) -> nn.ModuleDict:
        """A new embedding into feature tokens for each modality."""
        return nn.ModuleDict(
            {
                m: Embedding(config, width=width, length=self.shapes.length(m))
                for m, width in self.widths().items()
            }
        )

    def streams(self, batch: Batch, *, damaged: bool = True) -> dict[Modality, Stream]:
        """The damaged or the complete input, text through its encoder.

        Raises:
            DataError: a sequence is longer than the network was made for.
        """
        text = batch.text
        ids_BT = text.noisy_ids_BT if damaged else text.ids_BT
        frames = {"audio": batch.audio, "vision": batch.vision}
        check_lengths(self.shapes, text=ids_BT, **{m: x.frames_BTD for m, x in frames.items()})
        hidden_BTD = self.text_encoder(ids_BT, text.valid_BT, text.segments_BT)
        found: dict[Modality, Stream] = {"text": Stream(hidden_BTD, text.valid_BT)}
        for modality in MODALITIES:
            if modality != "text":
                given = frames[modality]
                x_BTD = given.noisy() if damaged else given.frames_BTD
                found[modality] = Stream(x_BTD, given.valid_BT)
        return found

    def losses(self, batch: Batch) -> Losses:
        """See ``types.Network``."""
        error_B = sentiment_error(self(batch), batch)
        return Losses({"sentiment": weighted_sum(error_B, batch.weight_B)}, self.weights, {})

    def predict(self, batch: Batch) -> Prediction:
        """See ``types.Network``."""
        return Prediction(sentiment_of(self(batch)), {})
