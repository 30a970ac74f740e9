"""Self-MM (Yu, Xu, Yuan, Wu: AAAI 2021, arXiv 2102.04830): each modality learns a label of its own.

    h_text = encoder's vector of the first token,  h_m = Linear(last state of LSTM_m(x_m))
    F_f = ReLU(Linear([h_text; h_audio; h_vision])),  F_m = ReLU(Linear(h_m))
    y = Linear(ReLU(Linear(F_f))),  y_m = Linear(ReLU(Linear(F_m)))
Loss: |y - label|, and for each modality tanh|l_m - label| |y_m - l_m|. The labels l_m of a training
sample start as its label and move once an epoch, from the second on (n = 2, 3, ...):
    C+_s, C-_s = mean of F_s over the training samples of positive, negative label (of l_s, s = m)
    a_s = (|F_s - C-_s| - |F_s - C+_s|) / |F_s - C+_s|                   s: f, text, audio, vision
    l = clip(label a_m / a_f / 2 + (label + a_m - a_f) / 2)             to the range of the labels
    l_m <- (n - 1) / (n + 1) l_m + 2 / (n + 1) l
F_s of every sample is remembered as it was when last seen. ``Memory`` is all that training knows of
its samples; a prediction has no use for it. Size: 0.21 M parameters outside BERT on MOSI.
Differs from the released code (thuiar/Self-MM): labels, features and centres move once an optimizer
step, not with each of its four micro-batches; one rate of dropout and one learning rate for all but
the encoder; labels are clipped to the largest of the training split; a label of zero is of neither
class, as in the paper; while a class is empty the labels stay, and a_f is kept off zero, where the
code has no number. As there, distances are neither squared nor divided by the root of the width, as
the paper has them. Where the task has classes y are logits and |y - label| is their cross entropy,
the labels of the modalities being numbers all the same.
"""

from collections.abc import Mapping
from itertools import accumulate

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, REGRESSION, Config, Modality, TaskConfig
from lnln_dist.losses import sentiment_error, weighted_sum, wide
from lnln_dist.models.sentiment import SentimentHead, SentimentNetwork, Stream
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.self_mm import SelfMMConfig, SelfMMLoss
from lnln_dist.types import Batch, Losses, SentenceEncoder

FRAMES: tuple[Modality, ...] = ("audio", "vision")
FUSED = "fused"
TINY = 1e-8  # keeps the divisors off zero


class LastState(nn.Module):
    """A sequence as one vector: what an LSTM holds at its last valid place; of none, zeros."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, out)

    def forward(self, stream: Stream) -> Tensor:
        """The vector, [B, out]."""
        # Frames are float32 where the weights are half, which no autocast sees to.
        kind = self.linear.weight.dtype
        states_BTD, _ = self.lstm(stream.x_BTD.to(kind))
        length_B11 = rearrange(stream.valid_BT.sum(dim=1), "b -> b 1 1")
        last_B1D = (length_B11 - 1).clamp(min=0).expand(-1, 1, states_BTD.shape[2])
        state_B1D = states_BTD.gather(1, last_B1D) * (length_B11 > 0)
        vector: Tensor = self.linear(rearrange(state_B1D, "b 1 d -> b d"))
        return vector


class Branch(nn.Module):
    """A feature, whose distances make labels, and the layer between it and a head."""

    def __init__(self, width: int, feature: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.feature = nn.Linear(width, feature)
        self.above = nn.Linear(feature, feature)

    def forward(self, h_BD: Tensor) -> tuple[Tensor, Tensor]:
        """The feature and what the head sees, [B, feature] each."""
        feature_BD = F.relu(self.feature(self.dropout(h_BD)))
        return feature_BD, F.relu(self.above(feature_BD))


def nearness(feature_BD: Tensor, known_RD: Tensor, label_R: Tensor) -> tuple[Tensor, Tensor]:
    """How much nearer features are to the positive centre than to the negative one, a_s above.

    Args:
        feature_BD: of some samples.
        known_RD: features of the training split, as remembered.
        label_R: their labels.

    Returns:
        a_s [B], and whether there is a sample of either class, without which it means nothing.
    """
    sides = torch.stack([label_R > 0, label_R < 0]).to(known_RD.dtype)
    counts = sides.sum(dim=1)
    centres = (sides @ known_RD) / counts.clamp(min=1).unsqueeze(1)
    to_positive_B, to_negative_B = (
        torch.linalg.vector_norm(feature_BD - centre, dim=1) for centre in centres
    )
    return (to_negative_B - to_positive_B) / (to_positive_B + TINY), counts.min() > 0


def generated(label_B: Tensor, own_B: Tensor, fused_B: Tensor, limit: Tensor) -> Tensor:
    """Labels of one modality, [B].

    Args:
        label_B: the samples' labels.
        own_B: a_m, ``nearness`` of the modality.
        fused_B: a_f, of all modalities.
        limit: what they are clipped to.
    """
    divisor_B = fused_B + torch.where(fused_B < 0, -TINY, TINY)
    product_B = own_B / divisor_B * label_B
    moved_B = label_B + own_B - fused_B
    return (0.5 * product_B + 0.5 * moved_B).clamp(-limit, limit)


class Memory(nn.Module):
    """What is known of each of R training samples.

    Args:
        rows: R.
        widths: of the features, by their names.
    """

    label_R: Tensor
    visits_R: Tensor
    offset_RM: Tensor
    feature_RD: Tensor

    def __init__(self, rows: int, widths: Mapping[str, int]) -> None:
        super().__init__()
        ends = list(accumulate(widths.values()))
        self._at = {
            name: slice(end - width, end)
            for (name, width), end in zip(widths.items(), ends, strict=True)
        }
        self.register_buffer("label_R", torch.zeros(rows))
        self.register_buffer("visits_R", torch.zeros(rows, dtype=torch.int64))
        # From the label to each modality's own, so that there is nothing to set before training.
        self.register_buffer("offset_RM", torch.zeros(rows, len(MODALITIES)))
        self.register_buffer("feature_RD", torch.zeros(rows, ends[-1]))

    def learn(self, row_B: Tensor, label_B: Tensor, feature_BD: Tensor) -> None:
        """Moves the labels of some samples by their features, then remembers these."""
        label_B, feature_BD = label_B.to(self.label_R), feature_BD.to(self.feature_RD)
        epoch_B = self.visits_R[row_B] + 1
        share_B = torch.where(epoch_B > 1, 2 / (epoch_B + 1), 0.0).to(label_B)

        def near(name: str, label_R: Tensor) -> tuple[Tensor, Tensor]:
            at = self._at[name]
            return nearness(feature_BD[:, at], self.feature_RD[:, at], label_R)

        fused_B, there = near(FUSED, self.label_R)
        new = []
        for number, modality in enumerate(MODALITIES):
            own_B, own_there = near(modality, self.label_R + self.offset_RM[:, number])
            limit = self.label_R.abs().max()
            gap_B = generated(label_B, own_B, fused_B, limit) - label_B
            old_B = self.offset_RM[row_B, number]
            moved_B = old_B + share_B * (gap_B - old_B)
            new.append(torch.where(there & own_there, moved_B, old_B))
        self.offset_RM[row_B] = torch.stack(new, dim=1)
        self.label_R[row_B], self.feature_RD[row_B] = label_B, feature_BD
        self.visits_R[row_B] = epoch_B


class SelfMM(SentimentNetwork):
    """Predicts from all modalities; in training from each, too, to a label found on the way."""

    def __init__(
        self,
        config: SelfMMConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: SelfMMLoss,
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__(encoder, shapes, loss=loss)
        out = {
            "text": encoder.width,
            "audio": config.audio_width,
            "vision": config.vision_width,
        }
        features = {
            FUSED: config.fused_feature,
            "text": config.text_feature,
            "audio": config.audio_feature,
            "vision": config.vision_feature,
        }
        self.last = nn.ModuleDict(
            {
                "audio": LastState(shapes.audio_width, config.audio_hidden, out["audio"]),
                "vision": LastState(shapes.vision_width, config.vision_hidden, out["vision"]),
            }
        )
        widths = {FUSED: sum(out.values()), **out}
        self.branches = nn.ModuleDict(
            {
                name: Branch(widths[name], feature, dropout=config.dropout)
                for name, feature in features.items()
            }
        )
        self.heads = nn.ModuleDict({m: SentimentHead(features[m], REGRESSION) for m in MODALITIES})
        self.sentiment = SentimentHead(config.fused_feature, task)
        self.memory = Memory(shapes.rows, features) if shapes.rows else None

    def _vectors(self, batch: Batch) -> dict[str, Tensor]:
        """Vectors h of the damaged input, of all modalities and of each."""
        streams = self.streams(batch)
        vectors: dict[str, Tensor] = {"text": streams["text"].x_BTD[:, 0]}
        for m in FRAMES:
            vectors[m] = self.last[m](streams[m])
        return {FUSED: torch.cat([vectors[m] for m in MODALITIES], dim=1), **vectors}

    def forward(self, batch: Batch) -> Tensor:
        """What the head of all modalities says of the damaged input."""
        output: Tensor = self.sentiment(self.branches[FUSED](self._vectors(batch)[FUSED])[1])
        return output

    def losses(self, batch: Batch) -> Losses:
        """See ``types.Network``."""
        vectors = self._vectors(batch)
        found = {name: branch(vectors[name]) for name, branch in self.branches.items()}
        output, label_B = self.sentiment(found[FUSED][1]), batch.label_B
        per_sample = {
            "sentiment": sentiment_error(output, batch)
            if output.ndim > 1
            else (wide(output) - label_B).abs()
        }
        shown = {}
        for number, m in enumerate(MODALITIES):
            offset_B = (
                torch.zeros_like(label_B)
                if self.memory is None
                else self.memory.offset_RM[batch.row_B, number]
            )
            error_B = (wide(self.heads[m](found[m][1])) - label_B - offset_B).abs()
            per_sample[m] = offset_B.abs().tanh() * error_B
            shown[f"own_label/{m}"] = weighted_sum(offset_B.abs(), batch.weight_B)
        terms = {name: weighted_sum(value, batch.weight_B) for name, value in per_sample.items()}
        if self.memory is None:
            return Losses(terms, self.weights, shown)
        feature_BD = torch.cat([wide(feature) for feature, _ in found.values()], dim=1).detach()
        return Losses(terms, self.weights, shown, {"label": label_B, "feature": feature_BD})

    def learn(self, row_B: Tensor, noted: Mapping[str, Tensor]) -> None:
        """See ``types.Learner``."""
        assert self.memory is not None, "only what it noted comes back"
        self.memory.learn(row_B, noted["label"], noted["feature"])


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> SelfMM:
    """The network of a run's settings."""
    assert isinstance(config.model, SelfMMConfig)
    assert isinstance(config.loss, SelfMMLoss)
    return SelfMM(config.model, encoder, shapes, loss=config.loss, task=config.task)
