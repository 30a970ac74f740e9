"""The samples that a report shows one by one: the worst of every model, and some drawn evenly."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.report.conditions import Condition, Outputs
from lnln_dist.report.read import RunScores

COLUMNS = 60  # of a strip; longer sequences are summed up


class Sample(NamedTuple):
    """What was in a sample and what each condition left of it."""

    pieces: list[tuple[str, int]]
    """Text in order: a piece and its place among the tokens, or -1 for what lies between."""
    keep_CT: Mapping[str, NDArray[np.bool_]]
    """Per modality, under each condition asked for: True on places that survived."""


class Contents(NamedTuple):
    """Access to the samples of an evaluation."""

    lengths: Mapping[str, int]  # id -> tokens
    marked: bool  # whether pieces know their place
    sample: Callable[[str], Sample]  # by id


Open = Callable[[RunScores, Sequence[Condition]], Contents | str]
"""Opens the evaluated data, the first noise seed's masks of the conditions in their order; or
says in a line why it cannot."""


def choose(outputs: Sequence[Outputs], most: int) -> list[int]:
    """Rows of the samples to show: half the worst of each model in turn, then as many drawn.

    Args:
        outputs: of the models.
        most: how many to choose.
    """
    ids = outputs[0].ids
    if len(ids) <= most:
        return list(range(len(ids)))
    error_MN = [
        np.mean([np.abs(v - out.label_N) for v in out.first_N.values()], axis=0) for out in outputs
    ]
    ranked_NM = np.stack([np.argsort(-error_N, kind="stable") for error_N in error_MN], axis=1)
    # Drawn by the hash of the id: the same samples in the report of any other models.
    drawn = sorted(range(len(ids)), key=lambda n: hashlib.sha256(ids[n].encode()).digest())
    chosen = list(dict.fromkeys(ranked_NM.ravel().tolist()))[: most // 2]
    rest = [n for n in drawn if n not in set(chosen)]
    return [*chosen, *rest[: most - len(chosen)]]


def strip(keep_T: NDArray[np.bool_]) -> str:
    """The erased share of each of at most ``COLUMNS`` stretches of a sequence, in ninths."""
    width = min(len(keep_T), COLUMNS)
    edges = np.linspace(0, len(keep_T), width + 1).astype(int)
    share = np.add.reduceat(~keep_T, edges[:-1], dtype=np.int64) / np.diff(edges)
    return "".join(map(str, np.ceil(share * 9).astype(int)))


def described(
    outputs: Sequence[Outputs],
    conditions: Sequence[Condition],
    contents: Contents | None,
    most: int,
) -> list[dict[str, Any]]:
    """The chosen samples for the page.

    Args:
        outputs: of the models, in the order in which the page names them.
        conditions: in the order in which the page names them.
        contents: of the data, if it is at hand.
        most: how many samples.
    """
    found = []
    for row in choose(outputs, most):
        name = outputs[0].ids[row]
        entry: dict[str, Any] = {
            "id": name,
            "label": round(float(outputs[0].label_N[row]), 4),
            "said": [[_at(out, at, row) for at in conditions] for out in outputs],
        }
        if contents is not None:
            sample = contents.sample(name)
            entry["pieces"] = sample.pieces
            entry["strips"] = {
                m: [strip(keep_T) for keep_T in keep_CT] for m, keep_CT in sample.keep_CT.items()
            }
            kept = sample.keep_CT["text"].astype(int)
            entry["kept"] = ["".join(map(str, keep_T)) for keep_T in kept]
        found.append(entry)
    return found


def _at(out: Outputs, at: Condition, row: int) -> float | None:
    return round(float(out.first_N[at][row]), 3) if at in out.first_N else None


def size_of(entry: Mapping[str, Any]) -> int:
    """Bytes of a sample in the page."""
    return len(json.dumps(entry, ensure_ascii=False).encode())
