"""TFR-Net (Yuan, Li, Xu, Yu: ACM MM 2021, doi 10.1145/3474085.3475585): rebuilds what is erased.

    s_m = sqrt(d) Conv_m(x_m) + sines                                  over time, width d
    h_m = [T_m(s_m, s_m); T_(n->m)(s_m, s_n); T_(k->m)(s_m, s_k)]      transformers as MulT's
    c_m = BiGRU_m(h_m),  g_m = sigmoid(Conv(c_m))                      one gate per place
    u_m = max over places of tanh(Linear([h_m; g_m tanh(c_m)]))
    y = Linear(LeakyReLU(Linear(LN([u_text; u_audio; u_vision]))))
    r_m = Linear(F_m(sqrt(T) h_m^T)^T)      F_m: a transformer among the 3d channels of T places
Loss: squared error of y; smooth absolute error of r_m against the complete x_m (of text: the
encoder's vectors) at the erased places, the mean over a sample's erased entries. A prediction
rebuilds nothing. Size: 14.85 M parameters outside BERT on MOSI, 14.26 M of them for r_m, as F_m
is as wide as the longest sequence has places.
Differs from the released code (thuiar/TFR-Net): attention is not causal and hides padding; F_m has
one head (there 25, which need not divide T); a layer norm stands for the batch norm before the
output, whose statistics would depend on micro-batches; one rate of dropout for all; the error of y
is not the absolute one; no moments are matched, and rebuilding counts from the first epoch on.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, REGRESSION, Config, Modality, TaskConfig
from lnln_dist.losses import same_shape, sentiment_error, weighted_sum, wide
from lnln_dist.models.mult import CrossTransformer, others, placed
from lnln_dist.models.sentiment import SentimentHead, SentimentNetwork, Stream
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.tfr_net import TFRNetConfig, TFRNetLoss
from lnln_dist.types import Batch, Losses, SentenceEncoder, there

KERNELS: dict[Modality, int] = {"text": 1, "audio": 5, "vision": 3}  # places a convolution sees
GATE_KERNEL = 3


def backwards(stream: Stream) -> Tensor:
    """Each sequence from its last valid place to its first, padding left behind it, [B, T, D]."""
    places_T = torch.arange(stream.x_BTD.shape[1], device=stream.x_BTD.device)
    length_B1 = stream.valid_BT.sum(dim=1, keepdim=True)
    index_BT = torch.where(places_T < length_B1, length_B1 - 1 - places_T, places_T)
    index_BTD = rearrange(index_BT, "b t -> b t 1").expand_as(stream.x_BTD)
    return stream.x_BTD.gather(1, index_BTD)


class BiGRU(nn.Module):
    """Layers of two recurrent networks, one of which reads each sequence from its end."""

    def __init__(self, width: int, hidden: int, *, depth: int) -> None:
        super().__init__()
        widths = [width, *(2 * hidden,) * (depth - 1)]
        gru = partial(nn.GRU, batch_first=True)
        self.ahead = nn.ModuleList(gru(w, hidden) for w in widths)
        self.back = nn.ModuleList(gru(w, hidden) for w in widths)

    def forward(self, stream: Stream) -> Tensor:
        """Both networks' states at every place, [B, T, 2 hidden]; without meaning on padding."""
        x_BTD, valid_BT = stream
        for ahead, back in zip(self.ahead, self.back, strict=True):
            of_ahead, _ = ahead(x_BTD)
            of_back, _ = back(backwards(Stream(x_BTD, valid_BT)))
            x_BTD = torch.cat([of_ahead, backwards(Stream(of_back, valid_BT))], dim=2)
        return x_BTD


class GatedFeature(nn.Module):
    """A sequence as one vector: the strongest of its places, their context let in by gates."""

    def __init__(self, width: int, feature: int, *, depth: int) -> None:
        super().__init__()
        self.context = BiGRU(width, feature, depth=depth)
        self.gate = nn.Conv1d(2 * feature, 1, GATE_KERNEL, padding=GATE_KERNEL // 2)
        self.linear = nn.Linear(width + 2 * feature, feature)

    def forward(self, stream: Stream) -> Tensor:
        """The vector, [B, feature]."""
        valid_BT1 = rearrange(stream.valid_BT, "b t -> b t 1")
        context_BTD = self.context(stream) * valid_BT1
        gate = self.gate(rearrange(context_BTD, "b t d -> b d t")).sigmoid()
        let_in = context_BTD.tanh() * rearrange(gate, "b 1 t -> b t 1")
        each_BTD = self.linear(torch.cat([stream.x_BTD, let_in], dim=2)).tanh()
        strongest: Tensor = reduce(each_BTD.masked_fill(~valid_BT1, -1.0), "b t d -> b d", "max")
        return strongest


class Rebuilder(nn.Module):
    """Frames or token vectors from a sequence's channels, each of which reads all the others."""

    def __init__(self, width: int, out: int, *, length: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.channels = CrossTransformer(length, depth=depth, heads=1, dropout=dropout)
        self.linear = nn.Linear(width, out)

    def forward(self, stream: Stream) -> Tensor:
        """What stands at each place, [B, T, out]."""
        x_BTD = stream.x_BTD * rearrange(stream.valid_BT, "b t -> b t 1")
        places = x_BTD.shape[1]
        whole = F.pad(rearrange(x_BTD, "b t d -> b d t"), (0, self.length - places))
        every = whole.new_ones(whole.shape[:2], dtype=torch.bool)
        mixed = self.channels(math.sqrt(self.length) * whole, None, every)
        rebuilt: Tensor = self.linear(rearrange(mixed, "b d t -> b t d")[:, :places])
        return rebuilt


def erased_error(rebuilt_BTD: Tensor, target_BTD: Tensor, erased_BT: Tensor) -> Tensor:
    """Smooth absolute error, the mean over a sample's erased entries, [B]; 0 where there are none.

    Raises:
        ValueError: the shapes differ.
    """
    same_shape(rebuilt_BTD, target_BTD)
    error = F.smooth_l1_loss(wide(rebuilt_BTD), wide(target_BTD), reduction="none")
    per_place_BT = reduce(error, "b t d -> b t", "mean") * erased_BT
    return per_place_BT.sum(dim=1) / erased_BT.sum(dim=1).clamp(min=1)


class TFRNet(SentimentNetwork):
    """Predicts from gated features of streams that read themselves and each other."""

    def __init__(
        self,
        config: TFRNetConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: TFRNetLoss,
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__(encoder, shapes, loss=loss)
        d, widths = config.width, self.widths()
        transformer = partial(
            CrossTransformer, depth=config.depth, heads=config.heads, dropout=config.dropout
        )
        features: dict[Modality, int] = {
            "text": config.text_feature,
            "audio": config.audio_feature,
            "vision": config.vision_feature,
        }
        self.convolve = nn.ModuleDict(
            {
                m: nn.Conv1d(widths[m], d, KERNELS[m], padding=KERNELS[m] // 2, bias=False)
                for m in MODALITIES
            }
        )
        self.inner = nn.ModuleDict({m: transformer(d) for m in MODALITIES})
        self.cross = nn.ModuleDict(
            {f"{source}_to_{m}": transformer(d) for m in MODALITIES for source in others(m)}
        )
        self.gated = nn.ModuleDict(
            {m: GatedFeature(3 * d, features[m], depth=config.gate_depth) for m in MODALITIES}
        )
        self.rebuild = nn.ModuleDict(
            {
                m: Rebuilder(
                    3 * d,
                    widths[m],
                    length=shapes.length(m),
                    depth=config.depth,
                    dropout=config.dropout,
                )
                for m in MODALITIES
            }
        )
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(sum(features.values()))
        self.up = nn.Linear(sum(features.values()), config.hidden)
        self.sentiment = SentimentHead(config.hidden, task)

    def _enriched(self, batch: Batch) -> dict[Modality, Stream]:
        """Each damaged stream with what it reads from itself and the two others, width 3d."""
        streams = {
            m: Stream(self.dropout(placed(stream, self.convolve[m])), stream.valid_BT)
            for m, stream in self.streams(batch).items()
        }
        found: dict[Modality, Stream] = {}
        for m, (target, valid_BT) in streams.items():
            read = [self.inner[m](target, None, valid_BT)]
            for n in others(m):
                read.append(self.cross[f"{n}_to_{m}"](target, streams[n], streams[n].valid_BT))
            found[m] = Stream(torch.cat(read, dim=2), valid_BT)
        return found

    def _output(self, enriched: dict[Modality, Stream]) -> Tensor:
        """What the head says."""
        features = [self.dropout(self.gated[m](enriched[m])) for m in MODALITIES]
        hidden_BD = F.leaky_relu(self.up(self.norm(torch.cat(features, dim=1))))
        output: Tensor = self.sentiment(hidden_BD)
        return output

    def forward(self, batch: Batch) -> Tensor:
        """What the head says of the damaged input."""
        return self._output(self._enriched(batch))

    def losses(self, batch: Batch) -> Losses:
        """See ``types.Network``."""
        enriched, complete = self._enriched(batch), self.streams(batch, damaged=False)
        per_sample = {"sentiment": sentiment_error(self._output(enriched), batch)}
        for m in MODALITIES:
            given = getattr(batch, m)
            erased_BT = there(given) & ~given.keep_BT
            rebuilt_BTD = self.rebuild[m](enriched[m])
            per_sample[m] = erased_error(rebuilt_BTD, complete[m].x_BTD, erased_BT)
        terms = {name: weighted_sum(value, batch.weight_B) for name, value in per_sample.items()}
        return Losses(terms, self.weights, {})


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> TFRNet:
    """The network of a run's settings."""
    assert isinstance(config.model, TFRNetConfig)
    assert isinstance(config.loss, TFRNetLoss)
    return TFRNet(config.model, encoder, shapes, loss=config.loss, task=config.task)
