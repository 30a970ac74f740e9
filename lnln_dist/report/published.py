"""Published scores, and a check of such tables for swapped F1 arguments and constant predictors.

``published.csv`` holds facts with their source: scores as printed (per cent; mae and corr as they
are), under which protocol, which split chose the checkpoint, what is known to be wrong, and
``f1_order``: ``truth first``, ``swapped`` (admitted, in the code, or inferred by the rule below)
or ``unknown``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lnln_dist.errors import UserError

PAIRS = (("acc2_non0", "f1_non0"), ("acc2_has0", "f1_has0"), ("acc2", "f1"))
MARGIN = 0.75  # points of mean F1 above mean accuracy; no table known to be right has any
ROUNDING = 0.03  # points: two printed numbers of two digits against the exact relation
# Best constant predictors on the test splits, per cent: the share of the larger class.
SHARES = {
    "mosi": {"acc2_non0": 57.77, "acc2_has0": 55.25},
    "mosei": {"acc2_non0": 62.85, "acc2_has0": 71.02},
    "sims": {"acc2": 69.37},
}


class Finding(NamedTuple):
    """Something a reader of one row of scores should know."""

    row: str  # method, data set and protocol
    kind: str  # "swapped" or "floor"
    text: str


def published() -> pd.DataFrame:
    """The published scores, one row per method, data set, protocol and source."""
    return pd.read_csv(Path(__file__).with_name("published.csv"), dtype={"f1_order": "string"})


def load_scores(path: Path) -> pd.DataFrame:
    """A user's CSV of published scores.

    Columns: any of ``acc2_non0``, ``f1_non0``, ``acc2_has0``, ``f1_has0``, ``acc2``, ``f1`` in
    per cent or as fractions, and optionally ``method``, ``dataset`` and ``protocol``.

    Raises:
        UserError: no such file, no table, no pair of accuracy and F1, or a score that is none.
    """
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as err:
        raise UserError(f"{path} cannot be read as CSV: {str(err).strip()}") from err
    names = [name for pair in PAIRS if set(pair) <= set(table.columns) for name in pair]
    if not names:
        wanted = "; ".join(" and ".join(pair) for pair in PAIRS)
        raise UserError(f"{path} has no accuracy with its F1: name columns {wanted}")
    for name in names:
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = table[name].notna() & ~numbers.between(0, 100)
        if wrong.any():
            raise UserError(
                f"{path}: {name} {table.loc[wrong, name].iloc[0]!r} is no score: "
                "give numbers in per cent or fractions"
            )
        table[name] = numbers
    # One unit per file: no table of accuracies lies below 1 per cent as a whole.
    if float(np.nanmax(table[names].to_numpy(float))) <= 1:
        table[names] *= 100
    return table


def check(table: pd.DataFrame) -> list[Finding]:
    """Rows whose F1 shows swapped arguments, or whose accuracy is a constant predictor's.

    Weighted F1 of an honest predictor lies at or below its accuracy but for chance; with truth
    and prediction swapped it lies above under heavy missing, and that of a constant predictor
    that is right on a share p is 2p / (1 + p) instead of 2p^2 / (1 + p). Where the classes are
    nearly of one size (MOSI) swapping changes little, and nothing is found.

    Args:
        table: scores in per cent, as from ``published`` or ``load_scores``.
    """
    return [found for row in table.to_dict("records") for found in _check_row(row)]


def _check_row(row: Mapping[Any, Any]) -> Iterator[Finding]:
    parts = [row.get(key) for key in ("method", "dataset", "protocol")]
    name = ", ".join(str(part) for part in parts if isinstance(part, str)) or "a row without a name"
    shares = SHARES.get(str(row.get("dataset")).lower(), {})
    for accuracy, f1 in PAIRS:
        acc, value = row.get(accuracy), row.get(f1)
        if acc is None or pd.isna(acc):
            continue
        if accuracy in shares and acc <= shares[accuracy] + ROUNDING:
            floor = f"{accuracy} {acc:.2f} is no better than a constant's {shares[accuracy]:.2f}"
            yield Finding(name, "floor", floor)
        if value is None or pd.isna(value):
            continue
        constant = 200 * acc / (100 + acc)
        # At p = 1 both orders agree.
        if acc < 99 and abs(value - constant) < ROUNDING:
            text = f"{f1} {value:.2f} is what a constant of {accuracy} {acc:.2f} scores"
            yield Finding(name, "swapped", f"{text} with truth and prediction swapped, 2p/(1+p)")
        elif value > acc + MARGIN:
            text = f"{f1} {value:.2f} lies above {accuracy} {acc:.2f}"
            yield Finding(name, "swapped", f"{text}: the sign of truth and prediction swapped")
