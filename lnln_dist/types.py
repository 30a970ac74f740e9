"""What passes between data, model, losses and evaluation; the shape legend of the project.

Shape letters, used as suffixes (``h_BND`` is [B, N, D]):
    B samples of a batch        T places of a sequence (tokens or frames), padding included
    N feature tokens (8)        D width (of frames: the features'; of tokens: the model's, 128)
    H attention heads           C width of one head
    I query places              J key places
    V vocabulary                M modalities
"""

from typing import NamedTuple

from torch import Tensor


class TextInput(NamedTuple):
    """Token sequences of a batch, complete and damaged."""

    ids_BT: Tensor  # int64, complete
    noisy_ids_BT: Tensor  # int64, erased tokens are [UNK]
    segments_BT: Tensor  # int64, token type ids
    valid_BT: Tensor  # bool, False on padding (the attention mask)
    keep_BT: Tensor  # bool, True where a valid token survived the noise
    rate_B: Tensor  # float32, nominal missing rate in [0, 1]

    def kept_share(self) -> Tensor:
        """Counted completeness: kept tokens among the valid ones, float32 in [0, 1], [B]."""
        return self.keep_BT.sum(dim=1) / self.valid_BT.sum(dim=1).clamp(min=1)


class SequenceInput(NamedTuple):
    """Audio or vision frames of a batch; ``noisy`` gives the damaged ones."""

    frames_BTD: Tensor  # float32, complete, zero on padding
    valid_BT: Tensor  # bool, False on padding
    keep_BT: Tensor  # bool, True where a valid frame survived the noise
    rate_B: Tensor  # float32, nominal missing rate in [0, 1]

    def noisy(self) -> Tensor:
        """Frames with the erased ones set to zero, [B T D]."""
        return self.frames_BTD * self.keep_BT.unsqueeze(-1)


class Batch(NamedTuple):
    """One micro-batch of one process."""

    text: TextInput
    audio: SequenceInput
    vision: SequenceInput
    label_B: Tensor  # float32, sentiment in the data set's range
    weight_B: Tensor  # float32, 1 for a sample that counts, 0 for a filler
    row_B: Tensor  # int64, row of the sample within its split


class Outputs(NamedTuple):
    """What the network returns; the last four are None outside training."""

    sentiment_B: Tensor
    completeness_B: Tensor  # predicted share of text that is there, in (0, 1)
    generated_logits_BN2: Tensor | None = None  # discriminator on the generated feature (class 1)
    language_logits_BN2: Tensor | None = None  # discriminator on the complete text (class 0)
    reconstructed_BND: Tensor | None = None  # N = 24 tokens in the order audio, vision, text
    target_BND: Tensor | None = None  # embeddings of the complete input, same order
