"""LNLN (Zhang, Wang, Yu, NeurIPS 2024, arXiv 2409.20012): the language-dominated network."""

from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from lnln_dist.config import MODALITIES, Modality, ModelConfig
from lnln_dist.errors import DataError
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
from lnln_dist.models.shapes import InputShapes
from lnln_dist.types import Batch, Outputs

REBUILT: tuple[Modality, ...] = ("audio", "vision", "text")  # order along the token axis


class SentenceEncoder(Protocol):
    """A module that turns token ids into vectors; ``models.text.TextEncoder`` is the one in use."""

    width: int

    def __call__(self, ids_BT: Tensor, valid_BT: Tensor, segments_BT: Tensor) -> Tensor:
        """Vectors of the tokens, [B, T, width]."""


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
    * ``correction``: the text's weight in h_d is the check's output, or the counted share of
      valid tokens that are kept; the check is trained and reported in both cases.
    * ``mask_padding`` hides padded places in the modality embeddings (the text encoder's
      attention mask is always given).

    Args:
        config: sizes and switches.
        encoder: the text encoder, a module.
        shapes: frame widths and the sizes of the position tables.
    """

    def __init__(self, config: ModelConfig, encoder: SentenceEncoder, shapes: InputShapes) -> None:
        super().__init__()
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
        self.fusion = Fusion(config)
        self.sentiment = nn.Linear(config.width, 1)
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
        outputs = Outputs(rearrange(self.sentiment(fused_BD), "b 1 -> b"), completeness_B)
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

    def _correct(
        self, batch: Batch, completeness_B: Tensor, proxy_BND: Tensor, text_BND: Tensor
    ) -> Tensor:
        share_B = completeness_B
        if self.config.correction == "counted":
            share_B = batch.text.kept_share().to(text_BND.dtype)
        share_B11 = rearrange(share_B, "b -> b 1 1")
        return (1 - share_B11) * proxy_BND + share_B11 * text_BND

    def _features(self, batch: Batch, *, damaged: bool) -> dict[Modality, Tensor]:
        """Each modality's feature h_m, [B, N, D]."""
        self._check_lengths(batch)
        text, audio, vision = batch.text, batch.audio, batch.vision
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

    def _check_lengths(self, batch: Batch) -> None:
        sizes: dict[Modality, int] = {
            "text": batch.text.ids_BT.shape[1],
            "audio": batch.audio.frames_BTD.shape[1],
            "vision": batch.vision.frames_BTD.shape[1],
        }
        for modality, size in sizes.items():
            limit = self.shapes.length(modality)
            if size > limit:
                raise DataError(
                    f"{modality} sequence of {size} places is longer than the {limit} the model "
                    f"was made for: cut the data to that length when preparing it"
                )
