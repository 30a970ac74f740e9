"""MulT, cross-modal transformers (Tsai et al.: ACL 2019, arXiv 1906.00295), for unaligned streams.

    s_m = sqrt(d) Conv_m(x_m) + sines                                 over time, width d
    layer: t <- t + MHA(LN(t), LN(s), LN(s)); t <- t + FFN(LN(t))     FFN of width 4d, ReLU
    z_(n->m) = LN(layers with target s_m and source s_n)              six of them, s_n unchanged
    z_m = last valid place of LN(self-attention layers of [z_(n->m); z_(k->m)])
    y = Linear(z + Linear(ReLU(Linear(z)))),  z = [z_text; z_audio; z_vision]
Loss: squared error of y. Size: 1.32 M parameters outside BERT on MOSI.
Differs from the released code (and its MMSA copies): padding is hidden and "last" is the last valid
place (there padding stands in front and is attended); text comes from the fine-tuned encoder;
one dropout instead of six, and none inside the attention.
"""

import math
from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, REGRESSION, Config, Modality, TaskConfig
from lnln_dist.models.layers import attend
from lnln_dist.models.sentiment import SentimentHead, SentimentNetwork, Stream
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.mult import MulTConfig
from lnln_dist.specs.sentiment import SentimentLoss
from lnln_dist.types import Batch, SentenceEncoder

PERIOD = 10_000.0  # of the slowest sine, over 2 pi


def sines(places: int, like: Tensor) -> Tensor:
    """Position vectors [T, D] in the kind and on the device of a [..., D] tensor: sines in the
    even columns, cosines in the odd ones.
    """
    width = like.shape[-1]
    steps = torch.arange(0, width, 2, device=like.device, dtype=torch.float64) / width
    places_T1 = torch.arange(places, device=like.device, dtype=torch.float64)[:, None]
    angles = places_T1 / PERIOD**steps
    both = torch.stack([angles.sin(), angles.cos()], dim=-1)
    return rearrange(both, "t w two -> t (w two)").to(like.dtype)


class CrossLayer(nn.Module):
    """Attention of a target to a source under one norm, then a feed-forward, both residual."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_streams, self.norm_inner = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query, self.to_key = nn.Linear(width, width), nn.Linear(width, width)
        self.to_value, self.to_out = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, target_BID: Tensor, source_BJD: Tensor, mask: Tensor) -> Tensor:
        """The next target stream, [B, I, D]; ``mask`` as in ``layers.attend``."""
        query = self.to_query(self.norm_streams(target_BID))
        source = self.norm_streams(source_BJD)
        read = attend(
            query, self.to_key(source), self.to_value(source), heads=self.heads, mask=mask
        )
        target = target_BID + self.dropout(self.to_out(read))
        inner = self.up(self.norm_inner(target)).relu()
        out: Tensor = target + self.dropout(self.down(inner))
        return out


class CrossTransformer(nn.Module):
    """Layers that let a target read a source; without a source it reads itself."""

    def __init__(self, width: int, *, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossLayer(width, heads=heads, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, target_BID: Tensor, source: Stream | None, valid_BJ: Tensor) -> Tensor:
        """The target after the last layer, normed, [B, I, D]; ``valid_BJ`` is of what is read."""
        mask = rearrange(valid_BJ, "b j -> b 1 1 j")
        for layer in self.layers:
            read = target_BID if source is None else source.x_BTD
            target_BID = layer(target_BID, read, mask)
        normed: Tensor = self.norm(target_BID)
        return normed


def placed(stream: Stream, convolution: nn.Module) -> Tensor:
    """A stream in the model's width with positions, [B, T, D]; kernels see zeros beyond its end."""
    x_BTD = stream.x_BTD * rearrange(stream.valid_BT, "b t -> b t 1")
    narrow = convolution(rearrange(x_BTD, "b t d -> b d t"))
    scaled: Tensor = math.sqrt(narrow.shape[1]) * rearrange(narrow, "b d t -> b t d")
    return scaled + sines(scaled.shape[1], scaled)


def last_valid(stream: Stream) -> Tensor:
    """The vector at the last place that is not padding, [B, D]."""
    last_B = stream.valid_BT.sum(dim=1).clamp(min=1) - 1
    index = repeat(last_B, "b -> b 1 d", d=stream.x_BTD.shape[-1])
    return rearrange(stream.x_BTD.gather(1, index), "b 1 d -> b d")


def others(modality: Modality) -> tuple[Modality, ...]:
    """The two modalities that a third one reads."""
    return tuple(m for m in MODALITIES if m != modality)


class MulT(SentimentNetwork):
    """Every modality reads the two others, place by place."""

    def __init__(
        self,
        config: MulTConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: SentimentLoss,
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__(encoder, shapes, loss=loss)
        d, kernel = config.width, config.kernel
        transformer = partial(CrossTransformer, heads=config.heads, dropout=config.dropout)
        self.convolve = nn.ModuleDict(
            {
                m: nn.Conv1d(width, d, kernel, padding=kernel // 2, bias=False)
                for m, width in self.widths().items()
            }
        )
        self.cross = nn.ModuleDict(
            {
                f"{source}_to_{m}": transformer(d, depth=config.depth)
                for m in MODALITIES
                for source in others(m)
            }
        )
        self.memory = nn.ModuleDict(
            {m: transformer(2 * d, depth=config.memory_depth) for m in MODALITIES}
        )
        self.dropout = nn.Dropout(config.dropout)
        self.up, self.down = nn.Linear(6 * d, 6 * d), nn.Linear(6 * d, 6 * d)
        self.sentiment = SentimentHead(6 * d, task)

    def _summary(self, streams: dict[Modality, Stream], modality: Modality) -> Tensor:
        """What a modality knows after reading the others, [B, 2D]."""
        target, valid_BT = streams[modality]
        read = [
            self.cross[f"{m}_to_{modality}"](target, streams[m], streams[m].valid_BT)
            for m in others(modality)
        ]
        memory = self.memory[modality](torch.cat(read, dim=2), None, valid_BT)
        return last_valid(Stream(memory, valid_BT))

    def forward(self, batch: Batch) -> Tensor:
        """What the head says of the damaged input."""
        streams = {
            m: Stream(self.dropout(placed(stream, self.convolve[m])), stream.valid_BT)
            for m, stream in self.streams(batch).items()
        }
        z_BD = torch.cat([self._summary(streams, m) for m in MODALITIES], dim=1)
        z_BD = z_BD + self.down(self.dropout(self.up(z_BD).relu()))
        output: Tensor = self.sentiment(z_BD)
        return output


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> MulT:
    """The network of a run's settings."""
    assert isinstance(config.model, MulTConfig)
    assert isinstance(config.loss, SentimentLoss)
    return MulT(config.model, encoder, shapes, loss=config.loss, task=config.task)
