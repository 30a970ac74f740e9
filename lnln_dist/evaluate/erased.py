"""Which places of a sample survive a noise, and which pieces of its text they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES
from lnln_dist.data.noise import Noise
from lnln_dist.data.shards import Split
from lnln_dist.vocabulary import finder, read_tokenizer


def read_places(split: Split, row: int, noises: Sequence[Noise]) -> dict[str, NDArray[np.bool_]]:
    """Which places of a sample were there and survive, [noises, T] per modality."""
    rows = np.array([row], np.int64)
    own = {m: split.lengths[m][rows] for m in MODALITIES}
    draws = [noise.draw(rows, 0, own, {m: int(own[m][0]) for m in MODALITIES}) for noise in noises]
    kept = {m: np.stack([draw[m].keep_BT[0] for draw in draws]) for m in MODALITIES}
    seen = {m: split.seen(m, row) for m in MODALITIES}
    return {m: k if (s := seen[m]) is None else k & s for m, k in kept.items()}


def tokenizer_in(folders: Sequence[Path | None]) -> Any | None:
    """The tokenizer of the first folder that has its files, without cutting and padding."""
    for folder in folders:
        if folder is not None and folder.is_dir():
            found = read_tokenizer(folder.name, finder(folder))
            if found is not None:
                found.no_truncation()
                found.no_padding()
                found.encode_special_tokens = True  # names of special tokens are text here
                return found
    return None


def pieces(text: str, ids: Sequence[int], tokenizer: Any | None) -> list[tuple[str, int]]:
    """A sentence cut where its tokens begin and end.

    Args:
        text: as in the data.
        ids: of its tokens, with [CLS] and [SEP].
        tokenizer: None: the places are not known.

    Returns:
        Pieces in order with their places, -1 for what is no token's. They spell ``text``, unless
        the tokens are not those of it: then the tokens' own names.
    """
    if tokenizer is None:
        return [(text, -1)]
    read = tokenizer.encode(text)
    inner = list(ids[1:-1])  # a sentence beyond the cut lost its end, not its [SEP]
    if read.ids[1 : 1 + len(inner)] != inner:
        names = [tokenizer.id_to_token(i) or "?" for i in inner]
        return [
            (name[2:] if name.startswith("##") else f" {name}", place)
            for place, name in enumerate(names, 1)
        ]
    found: list[tuple[str, int]] = []
    end = 0
    for place, (start, stop) in enumerate(read.offsets[1 : 1 + len(inner)], 1):
        if start > end:
            found.append((text[end:start], -1))
        found.append((text[max(start, end) : stop], place))
        end = max(end, stop)
    if end < len(text):
        found.append((text[end:], -1))
    return found
