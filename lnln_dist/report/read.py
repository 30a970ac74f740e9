"""Folders that ``evaluate`` wrote, opened and checked, as arrays that statistics can work on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError

from lnln_dist.errors import UserError, one_line
from lnln_dist.metrics import ALL, Family
from lnln_dist.report.seeds import CONSTANT, RANDOM, floor_of, with_rate
from lnln_dist.specs.spec import PREDICTION_COLUMNS

FILES = ("evaluation.json", "metrics.csv", "predictions.parquet")
TEXT = ["run", "model", "split", "protocol", "pattern", "metric", "checkpoint", "selected_on"]
CELL = ["noise_seed", "pattern", "rate"]
NUMBERS = ["rate_text", "rate_audio", "rate_vision", "value"]
# What is no readable evaluation, whatever reads it; JSON nested too deep is a RecursionError.
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _Record(BaseModel):
    """What is read of a run's entry in evaluation.json."""

    run: str
    group: str
    recipe: str
    train_seed: NonNegativeInt | None
    dataset: str
    data_hash: str
    family: Family
    samples: PositiveInt
    label_shift: str | None = None


class _Summary(BaseModel):
    """What is read of evaluation.json."""

    split: str
    protocol: str
    absent: list[str] | None = None
    alarms: list[str]
    runs: Annotated[list[_Record], Field(min_length=1)]


@dataclass(frozen=True, eq=False)
class RunScores:
    """One run under one protocol."""

    name: str
    folder: Path
    record: dict[str, Any]  # its entry in evaluation.json
    summary: dict[str, Any]  # the rest of evaluation.json
    protocol: str  # in words, with what is absent
    selected_on: str
    metrics: pd.DataFrame  # its rows of metrics.csv with a column rate, without the constants'
    floors: dict[str, float]
    predictions: pd.DataFrame
    alarms: list[str]
    _joined: dict[tuple[str, ...], pd.DataFrame] = field(default_factory=dict, repr=False)
    """What ``outputs`` found, by the cells' checkpoints: most scores have these in common."""

    @property
    def group(self) -> tuple[str, str, str]:
        """The same for runs that differ in the training seed alone."""
        checkpoint = str(self.summary.get("checkpoint", "best"))
        return self.protocol, str(self.record["group"]), checkpoint

    @property
    def family(self) -> Family:
        """Whose scores they are."""
        return self.record["family"]  # type: ignore[no-any-return]

    def outputs(self, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows of metrics.csv of one score, and the predictions behind each.

        Returns:
            Rows (one per cell) and predictions (cells x samples), both sorted by noise seed,
            pattern and rate, the predictions by id within a cell.

        Raises:
            UserError: predictions are missing.
        """
        rows = self.metrics[self.metrics["metric"] == metric].sort_values(CELL)
        key = tuple(rows["checkpoint"])
        if key not in self._joined:
            chosen = rows[[*CELL, "checkpoint"]].astype({"noise_seed": "int64"})
            found = chosen.merge(self.predictions, on=[*CELL, "checkpoint"], how="left")
            found = found.sort_values([*CELL, "id"])
            samples = int(self.record["samples"])
            if len(found) != len(rows) * samples or found["prediction"].isna().any():
                raise UserError(self._torn)
            self._joined[key] = found
        return rows, self._joined[key]

    @property
    def _torn(self) -> str:
        return (
            f"{self.folder}: predictions and scores of {self.name} do not have the same "
            "conditions: evaluate again"
        )

    def grid(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64], pd.DataFrame]:
        """Predictions for one score, labels, and the scores as evaluated.

        The conditions are the missing rates of pattern "random", or all patterns without them.

        Returns:
            prediction_KCN (noise seeds, conditions, samples by id), label_N, and the rows of
            metrics.csv in the order of the first two axes.

        Raises:
            UserError: predictions are missing, or another seed has another number of conditions.
        """
        rows, found = self.outputs(metric)
        if (rows["pattern"] == RANDOM).any():
            rows = rows[rows["pattern"] == RANDOM]
            found = found[found["pattern"] == RANDOM]
        seeds, samples = rows["noise_seed"].nunique(), int(self.record["samples"])
        if len(rows) % max(seeds, 1):
            raise UserError(self._torn)
        prediction = found["prediction"].to_numpy(np.float64).reshape(seeds, -1, samples)
        label = found["label"].to_numpy(np.float64)[:samples]
        return prediction, label, rows


def read(folders: Sequence[Path]) -> list[RunScores]:
    """All runs of some evaluations of the same data.

    Raises:
        UserError: a folder is no evaluation or damaged, they score other data or splits, a
            protocol's rates or noise seeds differ between them, or a run is there twice.
    """
    runs = [run for folder in folders for run in _open(folder)]
    first = runs[0]
    for run in runs[1:]:
        _same(first, run, "data", "data_hash")
        _same(first, run, "scoring family", "family")
    grids: dict[str, RunScores] = {}
    seen: dict[tuple[object, ...], RunScores] = {}
    for run in runs:
        other = grids.setdefault(run.protocol, run)
        definitions = [r.record["definition"] for r in (run, other) if r.record["definition"]]
        if _conditions(run) != _conditions(other) or definitions[1:] != definitions[:-1]:
            raise UserError(
                f"{run.folder} and {other.folder} have other rates, noise seeds or patterns in "
                f"protocol {run.protocol}: evaluate them alike"
            )
        key = (run.group, run.record["train_seed"])
        other = seen.setdefault(key, run)
        if other is not run:
            raise UserError(
                f"{other.folder}: {other.name} and {run.folder}: {run.name} are the same training "
                "with the same seed: give one of them"
            )
    return runs


def read_metrics(folder: Path) -> pd.DataFrame:
    """metrics.csv; what is text stays text, whatever a run is called: ``1`` and ``nan`` are names.

    Raises:
        one of DAMAGE: it is missing, no table, lacks columns, or has words for numbers.
    """
    path = folder / FILES[1]
    text = pd.read_csv(path, usecols=lambda c: c in TEXT, dtype=str, keep_default_na=False)
    table = pd.read_csv(path).assign(**{str(c): text[c].where(text[c] != "") for c in text})
    kinds = {**dict.fromkeys(TEXT, "object"), **dict.fromkeys(NUMBERS, "float64")}
    kinds |= {"noise_seed": "Int64", "n": "int64"} | (
        {"rate": "float64"} if "rate" in table else {}
    )
    return table.astype(kinds)


def read_predictions(folder: Path) -> pd.DataFrame:
    """predictions.parquet; rates are those of ``read_metrics`` up to the last digits.

    Raises:
        one of DAMAGE: see ``read_metrics``.
    """
    table = pd.read_parquet(folder / FILES[2])
    numbers = ["rate", "label", "prediction", *(c for c in table if c not in PREDICTION_COLUMNS)]
    kinds = dict.fromkeys(["run", "id", "pattern", "checkpoint"], "object")
    return table.astype({**kinds, **dict.fromkeys(numbers, "float64"), "noise_seed": "int64"})


def _open(folder: Path) -> Iterator[RunScores]:
    if not (folder / FILES[0]).is_file():
        raise UserError(f"{folder} is no evaluation: give a folder that `lnln-dist evaluate` wrote")
    try:
        summary = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
        _Summary.model_validate(summary)
        metrics, predictions = read_metrics(folder), read_predictions(folder)
        predictions["rate"] = predictions["rate"].round(9)
        absent = summary.get("absent")
        protocol = str(summary["protocol"])
        if absent:
            protocol += f", without {' and '.join(absent)}"
        # Not every pandas reads the last digit back.
        rows = with_rate(metrics).astype({"noise_seed": "int64"})
        rows = rows.assign(rate=rows["rate"].round(9))
        for record in summary["runs"]:
            own = rows[rows["run"] == record["run"]]
            mine = metrics[metrics["run"] == record["run"]]
            record["split"] = summary["split"]
            record["definition"] = summary.get("protocol_definition")  # none in older ones
            record["protocol_words"] = summary.get("protocol_words")
            yield RunScores(
                name=record["run"],
                folder=folder,
                record=record,
                summary={k: v for k, v in summary.items() if k not in ("runs", "alarms")},
                protocol=protocol,
                selected_on=", ".join(dict.fromkeys(own["selected_on"].dropna())),
                metrics=own,
                floors=floor_of(mine[mine["model"] == CONSTANT]),
                predictions=predictions[predictions["run"] == record["run"]],
                alarms=[a for a in summary["alarms"] if a.startswith(f"{record['run']}: ")],
            )
    except DAMAGE as err:
        raise damaged(folder, err) from err


def damaged(path: Path, err: Exception) -> UserError:
    """The line for what one of ``DAMAGE`` says."""
    if isinstance(err, ValidationError):
        first = err.errors()[0]
        reason = f"evaluation.json: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    else:
        reason = one_line(err)
    return UserError(f"{path} is damaged ({reason}): evaluate again")


def _same(first: RunScores, other: RunScores, what: str, key: str) -> None:
    if (first.record[key], first.record["split"]) != (other.record[key], other.record["split"]):
        described = [
            f"{r.folder} ({r.record['dataset']} {r.record['split']})" for r in (first, other)
        ]
        raise UserError(
            f"{' and '.join(described)} score other {what} or splits: compare them apart"
        )


def _conditions(run: RunScores) -> list[tuple[Any, ...]]:
    cells = run.metrics[CELL].drop_duplicates().sort_values(CELL)
    return list(cells.itertuples(index=False, name=None))


def metric_of(runs: Sequence[RunScores], metric: str) -> str:
    """A score that all runs have.

    Raises:
        UserError: they do not.
    """
    of_each = [set(run.metrics["metric"]) for run in runs]
    names = [name for name in ALL[runs[0].family] if all(name in own for own in of_each)]
    if metric not in names:
        known = f"choose one of {', '.join(names)}" if names else "all runs have none in common"
        raise UserError(f"--metric {metric}: {known}")
    return metric
