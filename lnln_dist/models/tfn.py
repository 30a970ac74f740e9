"""TFN, tensor fusion (Zadeh, Chen, Poria, Cambria, Morency: EMNLP 2017, arXiv 1707.07250).

    h_m = MLP_m(mean of x_m over its valid places)      ReLU layers: 2 for text, 3 for the others
    Z = [h_text; 1] x [h_audio; 1] x [h_vision; 1]      outer product: all one-, two- and
                                                        three-way products of the entries
    y = Linear(ReLU(Linear(ReLU(Linear(Z)))))
Loss: squared error of y. Size: 18.12 M parameters outside BERT on MOSI, nearly all after Z.
Differs from the paper: the text encoder and a mean stand in for GloVe and an LSTM; y is not pressed
into the labels' range by a sigmoid. No released code is followed.
"""

from itertools import pairwise

from einops import einsum, rearrange, reduce
from torch import Tensor, nn
from torch.nn.functional import pad

from lnln_dist.config import MODALITIES, REGRESSION, Config, Modality, TaskConfig
from lnln_dist.models.sentiment import SentimentHead, SentimentNetwork, Stream
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.sentiment import SentimentLoss
from lnln_dist.specs.tfn import TFNConfig
from lnln_dist.types import Batch, SentenceEncoder

LAYERS: dict[Modality, int] = {"text": 2, "audio": 3, "vision": 3}


def relu_layers(sizes: list[int]) -> nn.Sequential:
    """Linear layers from size to size, a ReLU behind each."""
    pairs = pairwise(sizes)
    return nn.Sequential(*(part for a, b in pairs for part in (nn.Linear(a, b), nn.ReLU())))


def mean_of_valid(stream: Stream) -> Tensor:
    """Mean over the places that are not padding, [B, D]; erased ones count."""
    valid_BT1 = rearrange(stream.valid_BT, "b t -> b t 1").to(stream.x_BTD.dtype)
    total_BD = reduce(stream.x_BTD * valid_BT1, "b t d -> b d", "sum")
    return total_BD / reduce(valid_BT1, "b t 1 -> b 1", "sum").clamp(min=1)


class TFN(SentimentNetwork):
    """Predicts from the outer product of the three modalities' features."""

    def __init__(
        self,
        config: TFNConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: SentimentLoss,
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__(encoder, shapes, loss=loss)
        out: dict[Modality, int] = {
            "text": config.text_width,
            "audio": config.audio_width,
            "vision": config.vision_width,
        }
        self.features = nn.ModuleDict(
            {m: relu_layers([width, *(out[m],) * LAYERS[m]]) for m, width in self.widths().items()}
        )
        entries = (out["text"] + 1) * (out["audio"] + 1) * (out["vision"] + 1)
        self.fused = relu_layers([entries, config.hidden, config.hidden])
        self.dropout = nn.Dropout(config.dropout)
        self.sentiment = SentimentHead(config.hidden, task)

    def forward(self, batch: Batch) -> Tensor:
        """What the head says of the damaged input."""
        streams = self.streams(batch)
        text, audio, vision = (
            pad(self.features[m](self.dropout(mean_of_valid(streams[m]))), (0, 1), value=1.0)
            for m in MODALITIES
        )
        tensor = einsum(text, audio, vision, "b i, b j, b k -> b i j k")
        fused_BD = self.fused(self.dropout(rearrange(tensor, "b i j k -> b (i j k)")))
        output: Tensor = self.sentiment(fused_BD)
        return output


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> TFN:
    """The network of a run's settings."""
    assert isinstance(config.model, TFNConfig)
    assert isinstance(config.loss, SentimentLoss)
    return TFN(config.model, encoder, shapes, loss=config.loss, task=config.task)
