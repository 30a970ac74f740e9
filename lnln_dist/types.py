"""What passes between data, model, losses and evaluation; the shape legend of the project.

Shape letters, used as suffixes (``h_BND`` is [B, N, D]):
    B samples of a batch        T places of a sequence (tokens or frames), padding included
    N feature tokens (8)        D width (of frames: the features'; of tokens: the model's, 128)
    H attention heads           C width of one head
    I query places              J key places
    V vocabulary                M modalities
    R samples of the training split
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class TextInput(NamedTuple):
    """Token sequences of a batch, complete and damaged."""

    ids_BT: Tensor  # int64, complete
    noisy_ids_BT: Tensor  # int64, erased tokens are [UNK]
    segments_BT: Tensor  # int64, token type ids
    valid_BT: Tensor  # bool, False on padding (the attention mask)
    keep_BT: Tensor  # bool, True where a valid token was there and survived the noise
    rate_B: Tensor  # float32, nominal missing rate of the noise in [0, 1]
    seen_BT: Tensor | None = None  # bool, True where a valid token was there; None: all were

    def kept_share(self) -> Tensor:
        """Counted completeness: kept tokens among the valid ones, float32 in [0, 1], [B].

        [CLS] and [SEP] count; tokens that were never there are valid and not kept.
        """
        return self.keep_BT.sum(dim=1) / self.valid_BT.sum(dim=1).clamp(min=1)

    def nominal_share(self) -> Tensor:
        """Nominal completeness: what the noise leaves on average, float32 in [0, 1], [B].

        1 - rate, times the share that was there of the tokens between [CLS] and [SEP]: a text that
        never was has 0, as one that the noise takes wholly.
        """
        left_B = 1 - self.rate_B
        return left_B if self.seen_BT is None else left_B * seen_share(self)


class SequenceInput(NamedTuple):
    """Audio or vision frames of a batch; ``noisy`` gives the damaged ones."""

    frames_BTD: Tensor  # float32, complete, zero on padding
    valid_BT: Tensor  # bool, False on padding
    keep_BT: Tensor  # bool, True where a valid frame was there and survived the noise
    rate_B: Tensor  # float32, nominal missing rate of the noise in [0, 1]
    seen_BT: Tensor | None = None  # bool, True where a valid frame was there; None: all were

    def noisy(self) -> Tensor:
        """Frames with the erased ones set to zero, [B T D]."""
        return self.frames_BTD * self.keep_BT.unsqueeze(-1)


def there(given: TextInput | SequenceInput) -> Tensor:
    """True on valid places that were there before any noise, [B T]."""
    return given.valid_BT if given.seen_BT is None else given.seen_BT


def seen_share(given: TextInput | SequenceInput) -> Tensor:
    """Places that were there among those that can be missing, float32 in [0, 1], [B].

    Those are all valid ones but a text's first and last; 1 where there is none.
    """
    margins = 2 if isinstance(given, TextInput) else 0
    never_B = (given.valid_BT & ~there(given)).sum(dim=1)
    return 1 - never_B / (given.valid_BT.sum(dim=1) - margins).clamp(min=1)


class ClassTarget(NamedTuple):
    """The classes of a batch's labels."""

    class_B: Tensor  # int64, number of the class, from 0 for the most negative
    weight_B: Tensor  # float32, of that class in the loss; the mean over the training split is 1


class Batch(NamedTuple):
    """One micro-batch of one process."""

    text: TextInput
    audio: SequenceInput
    vision: SequenceInput
    label_B: Tensor  # float32, sentiment in the data set's range
    weight_B: Tensor  # float32, 1 for a sample that counts, 0 for a filler
    row_B: Tensor  # int64, row of the sample within its split
    target: ClassTarget | None = None  # in training where task.kind has classes


class Losses(NamedTuple):
    """What a network's training forward pass gives; terms and shown are sums over the samples."""

    terms: Mapping[str, Tensor]  # what is trained, by the names of the section ``loss``
    weights: Mapping[str, float]  # of each term
    shown: Mapping[str, Tensor]  # what is only logged, by its tag (``completeness/predicted``)
    # Of each sample, [B ...]: what ``Learner.learn`` is told once a step; no gradient runs through.
    noted: Mapping[str, Tensor] = MappingProxyType({})

    def only(self, terms: Collection[str]) -> "Losses":
        """The same, of which no other term counts.

        They keep a weight of 0 and so a gradient, which parallel training waits for.
        """
        weights = {name: w if name in terms else 0.0 for name, w in self.weights.items()}
        return self._replace(weights=weights)

    def total(self, samples: int = 1) -> Tensor:
        """The terms times their weights, added up; each divided by ``samples`` first."""
        weighted = [self.weights[name] * (value / samples) for name, value in self.terms.items()]
        return torch.stack(weighted).sum()


class Prediction(NamedTuple):
    """What a network says of damaged input."""

    sentiment: Tensor  # [B] in the labels' unit; with classes (task.kind) their probabilities [B C]
    extras: Mapping[str, Tensor]  # [B] each, by the names of ``ModelSpec.extras``


class Network(Protocol):
    """The two verbs of a network, an ``nn.Module`` that a ``ModelSpec`` builds.

    Both see a batch of complete and damaged input. ``predict`` must not look at the complete one,
    and gives a sample the same result whatever else is in its batch.
    """

    def losses(self, batch: Batch) -> Losses:
        """Loss terms of a batch in training; a sample counts ``batch.weight_B`` times."""

    def predict(self, batch: Batch) -> Prediction:
        """The sentiment of a batch, and what the model reports beside it."""


class Learner(Network, Protocol):
    """A network that remembers its training samples: its ``losses`` give ``noted``."""

    def learn(self, row_B: Tensor, noted: Mapping[str, Tensor]) -> None:
        """Takes note of a step's samples, after its update; buffers are the place for it.

        Called on every rank with the samples of all ranks, so that buffers stay alike.

        Args:
            row_B: rows within the training split, int64, none of them twice.
            noted: as the ``losses`` of the micro-batches gave them.
        """


class SentenceEncoder(Protocol):
    """A module that turns token ids into vectors; ``models.text.TextEncoder`` is the one in use."""

    width: int

    def __call__(self, ids_BT: Tensor, valid_BT: Tensor, segments_BT: Tensor) -> Tensor:
        """Vectors of the tokens, [B, T, width]."""


def blank_batch(size: int, *, lengths: Mapping[Any, int], widths: Mapping[Any, int]) -> Batch:
    """Samples without content, to find out what a batch of that size costs.

    Args:
        size: samples B.
        lengths: places T of text, audio and vision.
        widths: features of a frame of audio and vision.
    """

    def ones(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
        return torch.ones(size, *shape, dtype=kind)

    def frames(modality: str) -> SequenceInput:
        valid_BT = ones(lengths[modality], kind=torch.bool)
        frames_BTD = ones(lengths[modality], widths[modality])
        return SequenceInput(frames_BTD, valid_BT, valid_BT.clone(), ones())

    ids_BT = ones(lengths["text"], kind=torch.int64)
    valid_BT = ones(lengths["text"], kind=torch.bool)
    return Batch(
        text=TextInput(
            ids_BT, ids_BT.clone(), torch.zeros_like(ids_BT), valid_BT, valid_BT.clone(), ones()
        ),
        audio=frames("audio"),
        vision=frames("vision"),
        label_B=ones(),
        weight_B=ones(),
        row_B=torch.zeros(size, dtype=torch.int64),
        target=ClassTarget(torch.zeros(size, dtype=torch.int64), ones()),
    )
