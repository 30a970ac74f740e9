"""LNLN (Zhang, Wang, Yu, NeurIPS 2024, arXiv 2409.20012): the language-dominated network."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, REGRESSION, Config, Modality, TaskConfig
from lnln_dist.errors import ConfigError
from lnln_dist.losses import (
    of_what_was_there,
    same_shape,
    sentiment_error,
    squared_error,
    weighted_sum,
    wide,
)
from lnln_dist.models.hyper import HyperLearning
from lnln_dist.models.layers import reverse_gradient
from lnln_dist.models.parts import (
    CompletenessCheck,
    Embedding,
    Fusion,
    ProxyGenerator,
    plain_encoder,
    small_head,
)
from lnln_dist.models.sentiment import SentimentHead, sentiment_of
from lnln_dist.models.shapes import InputShapes, check_lengths
from lnln_dist.specs.lnln import LNLNConfig, LNLNLoss
from lnln_dist.specs.registry import loss_weights
from lnln_dist.types import Batch, Losses, Prediction, SentenceEncoder

REBUILT: tuple[Modality, ...] = ("audio", "vision", "text")  # order along the token axis


GENERATED, LANGUAGE = 1, 0  # classes of the discriminator
Label = Literal["nominal", "counted"]


class Outputs(NamedTuple):
    """What the network returns; the last four are None outside training."""

    sentiment: Tensor  # what the head says: a number [B], or logits of classes [B, C]
    completeness_B: Tensor  # predicted share of text that is there, in (0, 1)
    generated_logits_BN2: Tensor | None = None  # discriminator on the generated feature (class 1)
    language_logits_BN2: Tensor | None = None  # discriminator on the complete text (class 0)
    reconstructed_BND: Tensor | None = None  # N = 24 tokens in the order audio, vision, text
    target_BND: Tensor | None = None  # embeddings of the complete input, same order


class LNLN(nn.Module):
    """Predicts sentiment from incomplete text, audio and vision, with text as the dominant one.

    Where paper and released code differ, ``config`` decides:

    * ``reversal`` "proxy" turns the sign of *every* gradient into the proxy generator (the
      sentiment loss's too). "discriminator" turns only what comes out of the discriminator on
      its generated side: the feature it judges passes a reversal on its way in. If that feature
      is the corrected one, then text embedding and completeness check, which take part in it,
      learn to deceive the discriminator as well.
    * ``discriminator_input``: the generated side is h_p or h_d. The other side, the complete
      text, is never detached nor reversed.
    * ``correction``: the text's weight in h_d is the check's output, the counted share of valid
      tokens that are kept, or 1; the check is trained and reported in all cases.
    * ``detach_completeness``: the check's parameters get no gradient but that of its own loss.
    * ``mask_padding`` hides padded places in the modality embeddings (the text encoder's
      attention mask is always given).

    Args:
        config: sizes and switches.
        encoder: the text encoder, a module.
        shapes: frame widths and the sizes of the position tables.
        loss: weights of the loss terms.
        label: of the completeness check, as ``completeness_label``.
        task: what the head predicts.
    """

    def __init__(
        self,
        config: LNLNConfig,
        encoder: SentenceEncoder,
        shapes: InputShapes,
        *,
        loss: LNLNLoss | None = None,
        label: Label = "nominal",
        task: TaskConfig = REGRESSION,
    ) -> None:
        super().__init__()
        self.weights = loss_weights(loss or LNLNLoss())
        self.label: Label = label
        # Costs are counted, and samples predicted, without one.
        self.teacher: Callable[[Batch], Tensor] | None = None
        self.config = config
        self.shapes = shapes
        self.text_encoder = encoder
        widths: dict[Modality, int] = {
            "text": encoder.width,
            "audio": shapes.audio_width,
            "vision": shapes.vision_width,
        }
        self.embed = nn.ModuleDict(
            {m: Embedding(config, width=widths[m], length=shapes.length(m)) for m in MODALITIES}
        )
        self.completeness = CompletenessCheck(config)
        self.proxy = ProxyGenerator(config)
        self.discriminator = small_head(config.width, 2)
        self.dominant = plain_encoder(config, depth=config.hyper_depth - 1)
        self.hyper = HyperLearning(
            depth=config.hyper_depth, tokens=config.tokens, width=config.width, heads=config.heads
        )
        self.fusion = Fusion(config, depth=config.fusion_depth)
        self.sentiment = SentimentHead(config.width, task)
        self.reconstructors = nn.ModuleDict(
            {m: plain_encoder(config, depth=config.reconstructor_depth) for m in REBUILT}
        )

    def forward(self, batch: Batch, *, complete: bool) -> Outputs:
        """Predictions for the damaged input.

        Args:
            batch: complete and damaged input of B samples.
            complete: also run the complete input, the discriminator and the reconstructors, as
                training needs it; else the last four outputs are None.

        Raises:
            DataError: a sequence is longer than its position table.
        """
        noisy = self._features(batch, damaged=True)
        completeness_B = self.completeness(noisy["text"])
        proxy_BND = self.proxy(noisy["audio"], noisy["vision"])
        if self.config.reversal == "proxy":
            proxy_BND = reverse_gradient(proxy_BND)
        corrected_BND = self._correct(batch, completeness_B, proxy_BND, noisy["text"])
        states = self.dominant.states(corrected_BND)
        hyper_BND = self.hyper(states, noisy["audio"], noisy["vision"])
        fused_BD = self.fusion(hyper_BND, states[-1])
        outputs = Outputs(self.sentiment(fused_BD), completeness_B)
        if not complete:
            return outputs
        whole = self._features(batch, damaged=False)
        judged = corrected_BND if self.config.discriminator_input == "corrected" else proxy_BND
        if self.config.reversal == "discriminator":
            judged = reverse_gradient(judged)
        target_BND = torch.cat([whole[m] for m in REBUILT], dim=1)
        return outputs._replace(
            generated_logits_BN2=self.discriminator(judged),
            language_logits_BN2=self.discriminator(whole["text"]),
            reconstructed_BND=torch.cat([self.reconstructors[m](noisy[m]) for m in REBUILT], dim=1),
            target_BND=target_BND.detach() if self.config.detach_target else target_BND,
        )

    def losses(self, batch: Batch) -> Losses:
        """See ``types.Network``; shown are the predicted completeness and its label."""
        outputs = self(batch, complete=True)
        label = self.teacher(batch) if self.teacher else self.label
        shown = {
            "completeness/predicted": outputs.completeness_B.detach(),
            "completeness/label": completeness_label(batch, label),
        }
        return Losses(
            lnln_terms(outputs, batch, completeness=label),
            self.weights,
            {name: weighted_sum(value, batch.weight_B) for name, value in shown.items()},
        )

    def predict(self, batch: Batch) -> Prediction:
        """See ``types.Network``."""
        outputs = self(batch, complete=False)
        return Prediction(sentiment_of(outputs.sentiment), {"completeness": outputs.completeness_B})

    def _correct(
        self, batch: Batch, completeness_B: Tensor, proxy_BND: Tensor, text_BND: Tensor
    ) -> Tensor:
        share_B = completeness_B.detach() if self.config.detach_completeness else completeness_B
        if self.config.correction == "counted":
            share_B = batch.text.kept_share().to(text_BND.dtype)
        if self.config.correction == "none":
            share_B = torch.ones_like(share_B)  # the proxy keeps a gradient, of zero
        share_B11 = rearrange(share_B, "b -> b 1 1")
        return (1 - share_B11) * proxy_BND + share_B11 * text_BND

    def _features(self, batch: Batch, *, damaged: bool) -> dict[Modality, Tensor]:
        """Each modality's feature h_m, [B, N, D]."""
        text, audio, vision = batch.text, batch.audio, batch.vision
        check_lengths(
            self.shapes, text=text.ids_BT, audio=audio.frames_BTD, vision=vision.frames_BTD
        )
        ids_BT = text.noisy_ids_BT if damaged else text.ids_BT
        inputs: dict[Modality, Tensor] = {
            "text": self.text_encoder(ids_BT, text.valid_BT, text.segments_BT),
            "audio": audio.noisy() if damaged else audio.frames_BTD,
            "vision": vision.noisy() if damaged else vision.frames_BTD,
        }
        valid: dict[Modality, Tensor] = {
            "text": text.valid_BT,
            "audio": audio.valid_BT,
            "vision": vision.valid_BT,
        }
        masked = self.config.mask_padding
        return {m: self.embed[m](inputs[m], valid[m] if masked else None) for m in MODALITIES}


def build(config: Config, encoder: SentenceEncoder, shapes: InputShapes) -> LNLN:
    """The network of a run's settings."""
    assert isinstance(config.model, LNLNConfig)
    assert isinstance(config.loss, LNLNLoss)
    label = config.noise.completeness
    if config.model.classifier and label != "nominal":
        raise ConfigError(
            f"noise.completeness {label} has no effect with model.classifier: drop one of the two"
        )
    return LNLN(config.model, encoder, shapes, loss=config.loss, label=label, task=config.task)


def completeness_label(batch: Batch, label: Label | Tensor) -> Tensor:
    """What the check should say, [B]: nominal or counted share of the text, or what is given."""
    if isinstance(label, Tensor):
        return label
    return batch.text.nominal_share() if label == "nominal" else batch.text.kept_share()


def lnln_terms(
    outputs: Outputs, batch: Batch, *, completeness: Label | Tensor
) -> dict[str, Tensor]:
    """Raw loss terms, each summed over the samples of the batch (spec section 4).

    A sample's own value is a mean over its entries (tokens, widths), so dividing a sum by the
    number of samples gives the mean of the paper. Samples count ``batch.weight_B`` times.

    Args:
        outputs: what the network returned. Without its training outputs only the terms
            ``sentiment`` and ``completeness`` exist.
        batch: labels, weights and noise of the same samples.
        completeness: label of the completeness check, as ``completeness_label``.

    Returns:
        Scalars under the names of ``LNLNLoss``; float32, or float64 if the outputs are.

    Raises:
        ValueError: two tensors that are compared differ in shape.
    """
    label_B = completeness_label(batch, completeness)
    per_sample = {
        "completeness": squared_error(outputs.completeness_B, label_B),
        "sentiment": sentiment_error(outputs.sentiment, batch),
    }
    generated, language = outputs.generated_logits_BN2, outputs.language_logits_BN2
    if generated is not None and language is not None:
        per_sample["adversarial"] = _adversarial(generated, language, batch)
    rebuilt, target = outputs.reconstructed_BND, outputs.target_BND
    if rebuilt is not None and target is not None:
        error_BND = squared_error(rebuilt, target)
        if any(getattr(batch, m).seen_BT is not None for m in REBUILT):
            of_each = zip(error_BND.chunk(len(REBUILT), dim=1), REBUILT, strict=True)
            kept = [of_what_was_there(error, getattr(batch, m)) for error, m in of_each]
            error_BND = torch.cat(kept, dim=1)
        per_sample["reconstruction"] = reduce(error_BND, "b n d -> b", "mean")
    return {name: weighted_sum(value, batch.weight_B) for name, value in per_sample.items()}


def _adversarial(generated_BN2: Tensor, language_BN2: Tensor, batch: Batch) -> Tensor:
    """Cross entropy of a sample, the mean over its 2N tokens, [B].

    The complete text of a sample that has none is no example of language and counts 0.
    """
    same_shape(generated_BN2, language_BN2)
    log_generated = wide(generated_BN2).log_softmax(dim=-1)[..., GENERATED]
    log_language = wide(language_BN2).log_softmax(dim=-1)[..., LANGUAGE]
    log_language = of_what_was_there(log_language, batch.text)
    return -reduce(log_generated + log_language, "b n -> b", "mean") / 2
