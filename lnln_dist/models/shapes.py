"""Sizes of the input that fix a network's parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lnln_dist.config import Modality


@dataclass(frozen=True, kw_only=True)
class InputShapes:
    """Frame widths and longest sequences (the sizes of the position tables), in places."""

    audio_width: int
    vision_width: int
    text_length: int
    audio_length: int
    vision_length: int

    @classmethod
    def of(cls, *, widths: Mapping[Any, int], lengths: Mapping[Any, int]) -> "InputShapes":
        """From mappings keyed by modality, such as an index's widths and padded lengths."""
        return cls(
            audio_width=widths["audio"],
            vision_width=widths["vision"],
            text_length=lengths["text"],
            audio_length=lengths["audio"],
            vision_length=lengths["vision"],
        )

    def length(self, modality: Modality) -> int:
        """Longest sequence of a modality, in places."""
        return {
            "text": self.text_length,
            "audio": self.audio_length,
            "vision": self.vision_length,
        }[modality]
