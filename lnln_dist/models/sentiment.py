"""What networks share whose loss is the error of the sentiment."""

from typing import NamedTuple

from torch import Tensor, nn

from lnln_dist.config import MODALITIES, LossConfig, Modality
from lnln_dist.losses import squared_error, weighted_sum
from lnln_dist.models.parts import Embedding
from lnln_dist.models.shapes import InputShapes, check_lengths
from lnln_dist.specs.embedding import EmbeddingConfig
from lnln_dist.specs.registry import loss_weights
from lnln_dist.types import Batch, Losses, Prediction, SentenceEncoder


class Stream(NamedTuple):
    """One modality's sequence."""

    x_BTD: Tensor  # token vectors or frames; erased frames are zero
    valid_BT: Tensor  # bool, False on padding


class SentimentNetwork(nn.Module):
    """The two verbs around ``forward(batch) -> sentiment_B``, which a subclass writes.

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
        error_B = squared_error(self(batch), batch.label_B)
        return Losses({"sentiment": weighted_sum(error_B, batch.weight_B)}, self.weights, {})

    def predict(self, batch: Batch) -> Prediction:
        """See ``types.Network``."""
        return Prediction(self(batch), {})
