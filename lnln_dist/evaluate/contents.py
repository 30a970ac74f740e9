"""Looks back into evaluated data: the text of a sample, and what each condition erased of it.

Masks are a function of the protocol (``protocol.noises_for``), so they are computed again rather
than stored.
"""

from collections.abc import Sequence
from pathlib import Path

from lnln_dist.data.shards import ShardedDataset, open_dataset
from lnln_dist.errors import UserError
from lnln_dist.evaluate.erased import pieces, read_places, tokenizer_in
from lnln_dist.evaluate.protocol import Cell, noises_for
from lnln_dist.evaluate.registry import protocol_in
from lnln_dist.report.conditions import Condition
from lnln_dist.report.read import RunScores
from lnln_dist.report.samples import Contents, Sample


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
    except (UserError, OSError, KeyError, StopIteration) as err:
        return f"the evaluated data cannot be opened ({err})"


def _contents(
    run: RunScores, conditions: Sequence[Condition], dataset: ShardedDataset, ids: list[str]
) -> Contents:
    split, index = dataset.split(run.record["split"]), dataset.index
    protocol = protocol_in(run.summary)
    cells = _first_of(protocol.cells(), conditions)
    noises = noises_for(cells, protocol.generator, split, index.padded_lengths)
    tokenizer = tokenizer_in([dataset.tokenizer_folder, Path(run.record["folder"]) / "encoder"])
    rows = {name: row for row, name in enumerate(ids)}

    def sample(name: str) -> Sample:
        text, tokens = split.raw_text(rows[name]), split.tokens(rows[name]).tolist()
        keep = read_places(split, rows[name], noises)
        return Sample(pieces(text, tokens, tokenizer), keep)

    text_lengths = dict(zip(ids, split.lengths["text"].tolist(), strict=True))
    return Contents(text_lengths, tokenizer is not None, sample)


def _first_of(cells: Sequence[Cell], conditions: Sequence[Condition]) -> list[Cell]:
    """The cell of each condition under the first noise seed."""
    return [
        next(c for c in cells if (c.pattern, round(c.rate, 9)) == (at.pattern, round(at.rate, 9)))
        for at in conditions
    ]
