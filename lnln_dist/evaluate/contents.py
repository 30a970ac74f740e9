"""Looks back into evaluated data: the text of a sample, and what each condition erased of it.

Masks are a function of the protocol (``protocol.noises_for``), so they are computed again rather
than stored.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.shards import ShardedDataset, open_dataset
from lnln_dist.errors import UserError
from lnln_dist.evaluate.erased import pieces, read_places, tokenizer_in
from lnln_dist.evaluate.protocol import Cell, ProtocolName, noises_for
from lnln_dist.report.conditions import Condition
from lnln_dist.report.read import CELL, RunScores
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
    except (UserError, OSError, KeyError) as err:
        return f"the evaluated data cannot be opened ({err})"


def _contents(
    run: RunScores, conditions: Sequence[Condition], dataset: ShardedDataset, ids: list[str]
) -> Contents:
    split, index = dataset.split(run.record["split"]), dataset.index
    protocol = cast(ProtocolName, run.summary["protocol"])
    noises = noises_for(_cells(run, conditions), protocol, split, index.padded_lengths)
    tokenizer = tokenizer_in([dataset.tokenizer_folder, Path(run.record["folder"]) / "encoder"])
    rows = {name: row for row, name in enumerate(ids)}

    def sample(name: str) -> Sample:
        text, tokens = split.raw_text(rows[name]), split.tokens(rows[name]).tolist()
        keep = read_places(split, rows[name], noises)
        return Sample(pieces(text, tokens, tokenizer), keep)

    text_lengths = dict(zip(ids, split.lengths["text"].tolist(), strict=True))
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
