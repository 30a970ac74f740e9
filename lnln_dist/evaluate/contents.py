"""Looks back into evaluated data: the text of a sample, and what each condition erased of it.

Masks are a function of the protocol (``protocol.noises_for``), so they are computed again rather
than stored.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.shards import ShardedDataset, open_dataset
from lnln_dist.errors import UserError
from lnln_dist.evaluate.protocol import Cell, ProtocolName, noises_for
from lnln_dist.report.conditions import Condition
from lnln_dist.report.read import CELL, RunScores
from lnln_dist.report.samples import Contents, Sample
from lnln_dist.vocabulary import finder, read_tokenizer


def open_contents(run: RunScores, conditions: Sequence[Condition]) -> Contents | str:
    """The samples that a run was scored on.

    Args:
        run: an evaluated run.
        conditions: whose masks are wanted, of the first noise seed.

    Returns:
        Access to them, or a line that says why there is none.
    """
    try:
        dataset = open_dataset(run.record["data"])
        split = dataset.split(run.record["split"])
        if dataset.index.data_hash() != run.record["data_hash"]:
            return f"{run.record['data']} holds other data than was evaluated"
        return _contents(run, conditions, dataset, split.ids)
    except (UserError, OSError, KeyError) as err:
        return f"the evaluated data cannot be opened ({err})"


def _contents(
    run: RunScores, conditions: Sequence[Condition], dataset: ShardedDataset, ids: list[str]
) -> Contents:
    split, index = dataset.split(run.record["split"]), dataset.index
    protocol = cast(ProtocolName, run.summary["protocol"])
    noises = noises_for(_cells(run, conditions), protocol, split, index.padded_lengths)
    tokenizer = _tokenizer(run, dataset)
    lengths, rows = split.lengths, {name: row for row, name in enumerate(ids)}

    def sample(name: str) -> Sample:
        row = np.array([rows[name]], np.int64)
        own = {m: lengths[m][row] for m in MODALITIES}
        width = {m: int(own[m][0]) for m in MODALITIES}
        draws = [noise.draw(row, 0, own, width) for noise in noises]
        keep: dict[str, NDArray[np.bool_]] = {
            m: np.stack([draw[m].keep_BT[0] for draw in draws]) for m in MODALITIES
        }
        text = split.raw_text(rows[name])
        return Sample(pieces(text, split.tokens(rows[name]).tolist(), tokenizer), keep)

    text_lengths = dict(zip(ids, lengths["text"].tolist(), strict=True))
    return Contents(text_lengths, tokenizer is not None, sample)


def _cells(run: RunScores, conditions: Sequence[Condition]) -> list[Cell]:
    """The cells of the first noise seed, with all that the scores say of them."""
    rows = run.metrics.drop_duplicates(CELL).sort_values("noise_seed", kind="stable")
    cells = []
    for at in conditions:
        own = rows[(rows["pattern"] == at.pattern) & (rows["rate"] == at.rate)].iloc[0]
        rates: dict[Modality, float] = {m: float(own[f"rate_{m}"]) for m in MODALITIES}
        cells.append(Cell(at.pattern, rates, int(own["noise_seed"])))
    return cells


def _tokenizer(run: RunScores, dataset: ShardedDataset) -> Any | None:
    """Of the data, or else of the run; None where neither has its files."""
    for folder in (dataset.tokenizer_folder, Path(run.record["folder"]) / "encoder"):
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
