"""Sizes of the input that fix a network's parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lnln_dist.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class InputShapes:
    """Frame widths and longest sequences (the sizes of the position tables), in places."""

    audio_width: int
    vision_width: int
    text_length: int
    audio_length: int
    vision_length: int
    rows: int = 0
    """Samples of the training split; 0 for a network that is not trained, which needs no memory of
    them."""

    @classmethod
    def of(
        cls, *, widths: Mapping[Any, int], lengths: Mapping[Any, int], rows: int = 0
    ) -> "InputShapes":
        """From mappings keyed by modality, such as an index's widths and padded lengths."""
        return cls(
            rows=rows,
            audio_width=widths["audio"],
            vision_width=widths["vision"],
            text_length=lengths["text"],
            audio_length=lengths["audio"],
            vision_length=lengths["vision"],
        )

    def length(self, modality: str) -> int:
        """Longest sequence of a modality, in places."""
        return {
            "text": self.text_length,
            "audio": self.audio_length,
            "vision": self.vision_length,
        }[modality]


def check_lengths(shapes: InputShapes, **sequences: "Tensor") -> None:
    """Refuses sequences [B, T, ...] that are longer than a network's position tables.

    Raises:
        DataError: names the modality and both sizes.
    """
    for modality, sequence in sequences.items():
        size, limit = sequence.shape[1], shapes.length(modality)
        if size > limit:
            raise DataError(
                f"{modality} sequence of {size} places is longer than the {limit} the model "
                f"was made for: cut the data to that length when preparing it"
            )
