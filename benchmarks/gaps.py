"""The demo corpus (synthetic) with natural gaps, prepared with and without the masks of them.

    python benchmarks/gaps.py data/gaps

Of each modality 15 % of the samples have nothing, the others a hole of a fifth of their places.
Writes FOLDER/seen as ``prepare`` does, and from the same file FOLDER/plain, whose gaps are zeros
and [UNK] that nothing tells from what was there.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lnln_dist.data import convert
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.synthetic import synthesize

ABSENT, HOLE = 0.15, 0.2


def lost(rng: np.random.Generator, length: int) -> slice:
    """The places that go, of ``length``."""
    if rng.random() < ABSENT or length < 3:
        return slice(0, length)
    size = min(max(2, round(HOLE * length)), length - 2)
    start = int(rng.integers(1, length - size))
    return slice(start, start + size)


def erase(fields: dict[str, Any], tokens: list[Any], unk_id: int, seed: int) -> None:
    """Puts gaps into a split, whose tokens become ``text_bert``."""
    rng, most = np.random.default_rng(seed), max(map(len, tokens))
    fields["text_bert"] = np.zeros((len(tokens), 3, most), np.int64)
    for own, bert in zip(tokens, fields["text_bert"], strict=True):
        gap = lost(rng, len(own) - 2)
        bert[0, : len(own)], bert[1, : len(own)] = own, 1
        bert[0, 1 + gap.start : 1 + gap.stop] = unk_id
    for m in ("audio", "vision"):
        for row, length in enumerate(fields[f"{m}_lengths"]):
            fields[m][row, lost(rng, int(length))] = 0


def main(folder: Path) -> None:
    """Writes both."""
    folder.mkdir(parents=True, exist_ok=True)
    whole, source = folder / "whole", folder / "gaps.pkl"
    synthesize(source, overwrite=True)
    index = convert.prepare(source, whole, dataset="demo", tokenizer="corpus", overwrite=True)
    data, content = open_dataset(whole), pickle.loads(source.read_bytes())
    for seed, name in enumerate(index.splits):
        split = data.split(name)
        tokens = [np.array(split.tokens(row)) for row in range(len(split))]
        erase(content[name], tokens, index.tokenizer.unk_id, seed)
    source.write_bytes(pickle.dumps(content))
    how: dict[str, Any] = {"dataset": "demo", "text_source": "text_bert", "overwrite": True}
    how["tokenizer"] = str(whole / "tokenizer")
    convert.prepare(source, folder / "seen", **how)
    convert._Conversion._seen = lambda *_: {}  # type: ignore[method-assign]
    convert.prepare(source, folder / "plain", **how)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
