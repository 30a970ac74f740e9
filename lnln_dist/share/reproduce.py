"""An evaluation made again and compared with the first, number by number."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lnln_dist.data.shards import open_dataset
from lnln_dist.errors import UserError
from lnln_dist.evaluate.again import arguments
from lnln_dist.evaluate.load import WEIGHTS, weights_sha256
from lnln_dist.evaluate.results import SUMMARY
from lnln_dist.report.read import DAMAGE, damaged, read_metrics, read_predictions
from lnln_dist.runs import Run
from lnln_dist.specs.spec import PREDICTION_COLUMNS

CONTINUOUS = ("mae", "corr")  # scores that move no further than the predictions
# Of evaluation.json: where these are the same, so are all numbers.
DECIDING = ("made_on", "world_size", "precision", "lnln_dist", "git_commit", "versions")


class Difference(NamedTuple):
    """One kind of number of one run, first and again."""

    run: str
    what: str
    numbers: int
    other: int  # not the same, bit for bit
    largest: float  # absolute difference; inf where a number is on one side only
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether it is reproduced."""
        return self.largest <= self.allowed


def read_summary(results: Path) -> dict[str, Any]:
    """What evaluation.json says.

    Raises:
        UserError: there is none, or it is of a version that did not note what is needed.
    """
    path = results / SUMMARY
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "command" not in summary:
            raise UserError(f"{path} does not say how it was made (an earlier version): evaluate")
        for record in summary["runs"]:
            record["folder"], record["data"], record["data_hash"]
            if not (isinstance(record["run"], str) and record["checkpoints"]):
                raise ValueError("a run without name or checkpoint")
        if not summary["runs"]:
            raise ValueError("no runs")
        arguments(summary)  # whether all is noted that is needed
    except FileNotFoundError as err:
        raise UserError(f"{results} is no evaluation: give a folder that evaluate wrote") from err
    except DAMAGE as err:
        raise damaged(path, err) from err
    return summary


def place(summary: Mapping[str, Any], runs: Sequence[Path], data: str | None) -> dict[str, Any]:
    """The summary with runs and data where they are now, checked to be the same.

    Args:
        summary: of the evaluation.
        runs: folders of the runs in its order; empty: where they were.
        data: folder of the data; None: where it was.

    Raises:
        UserError: a run or the data is not there, or another one.
    """
    records = [dict(record) for record in summary["runs"]]
    if runs and len(runs) != len(records):
        raise UserError(f"--run is given {len(runs)} times, the evaluation has {len(records)} runs")
    for record, folder in zip(records, runs or [Path(r["folder"]) for r in records], strict=True):
        run = Run(folder)
        for name, note in record["checkpoints"].items():
            found = weights_sha256(run.load_best(name)[0])
            if found != note.get(WEIGHTS):
                raise UserError(
                    f"{folder}: the weights of checkpoint {name} are not those that were "
                    f"evaluated ({found[:12]}, were {str(note.get(WEIGHTS))[:12]}): say where that "
                    "run is with --run"
                )
        record["folder"] = str(folder.resolve())
        record["data"] = str(Path(data).resolve()) if data is not None else record["data"]
        found = open_dataset(record["data"]).index.data_hash()
        if found != record["data_hash"]:
            raise UserError(
                f"{record['data']}: not the data that was evaluated ({found[:12]}, was "
                f"{record['data_hash'][:12]}): say where that is with --data"
            )
    return {**summary, "runs": records}


def changed(first: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """What differs between the circumstances of two evaluations, in words."""
    pairs = []
    for key in DECIDING:
        one, other = first.get(key), again.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            pairs += [(name, one.get(name), other.get(name)) for name in {**one, **other}]
        else:
            pairs.append((key, one, other))
    return [f"{name} was {one}, is {other}" for name, one, other in pairs if one != other]


def differences(first: Path, again: Path, *, tolerance: float) -> list[Difference]:
    """Compares all numbers of two evaluations of the same runs, row by row.

    Args:
        first: results of the runs.
        again: results of the same runs in the same order.
        tolerance: allowed difference of predictions and continuous scores; scores that count may
            differ by two samples beside it. 0 asks for the same bits.

    Raises:
        UserError: a file is missing or damaged, or holds no numbers of a run.
    """
    one, two = _tables(first), _tables(again)
    found = []
    for name, other in zip(one.runs, two.runs, strict=True):
        metrics = [t.metrics[t.metrics["run"] == r] for t, r in ((one, name), (two, other))]
        tables = [t.predictions[t.predictions["run"] == r] for t, r in ((one, name), (two, other))]
        if any(frame.empty for frame in (metrics[0], tables[0])):
            raise UserError(f"{first} holds no scores or no predictions of {name}: evaluate again")
        for metric in dict.fromkeys(pd.concat(metrics)["metric"]):
            rows = [frame[frame["metric"] == metric] for frame in metrics]
            slack = 2 / max(1, int(pd.concat(rows)["n"].min())) if metric not in CONTINUOUS else 0.0
            allowed = tolerance + slack if tolerance else 0.0
            found.append(_compare(name, str(metric), rows, "value", ["n"], allowed))
        both = dict.fromkeys(str(c) for frame in tables for c in frame)
        extras = [c for c in both if c not in PREDICTION_COLUMNS]
        outputs = ["prediction", *extras]
        for output in outputs:
            told = any(c == output and not f[c].isna().all() for f in tables for c in f)
            if told or output == "prediction":  # else another run's
                found.append(_compare(name, output, tables, output, outputs, tolerance))
    return found


def _compare(
    run: str,
    what: str,
    frames: Sequence[pd.DataFrame],
    column: str,
    beside: Sequence[str],
    allowed: float,
) -> Difference:
    """Compares a column of two tables whose rows are known by the columns that are no numbers."""
    keys = [str(c) for c in frames[0] if c not in {"run", column, *beside}]
    numbers = Difference(run, what, len(frames[0]), len(frames[0]), math.inf, allowed)
    if any(not {column, *keys} <= set(frame) for frame in frames):
        return numbers
    rows = []
    for frame in frames:
        named = frame[keys].astype(str).fillna("").assign(number=frame[column])
        rows.append(named.sort_values(keys))
    if len(rows[0]) != len(rows[1]) or (rows[0][keys].to_numpy() != rows[1][keys].to_numpy()).any():
        return numbers
    one, two = (frame["number"].to_numpy(np.float64) for frame in rows)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    gap = np.abs(one - two)[~same]
    largest = float(np.where(np.isnan(gap), math.inf, gap).max(initial=0.0))
    return numbers._replace(other=int(np.count_nonzero(~same)), largest=largest)


class _Results(NamedTuple):
    runs: list[str]
    metrics: pd.DataFrame
    predictions: pd.DataFrame


def _tables(folder: Path) -> _Results:
    runs = [record["run"] for record in read_summary(folder)["runs"]]
    try:
        return _Results(runs, read_metrics(folder), read_predictions(folder))
    except DAMAGE as err:
        raise damaged(folder, err) from err
