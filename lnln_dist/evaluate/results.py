"""What an evaluation writes: metrics.csv, predictions.parquet and evaluation.json."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.shards import Split
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.protocol import Cell
from lnln_dist.files import alone, atomic_folder
from lnln_dist.report.seeds import CONSTANT

SUMMARY = "evaluation.json"  # makes a folder an evaluation; written last
COLUMNS = (
    *("run", "model", "train_seed", "split", "protocol", "pattern", "rate"),
    *("rate_text", "rate_audio", "rate_vision"),
    *("erased_text", "erased_audio", "erased_vision", "noise_seed"),
    *("metric", "value", "n", "checkpoint", "selected_on"),
)


class Subject(NamedTuple):
    """Whose numbers they are."""

    run: str  # name within this evaluation
    model: str  # name of its family
    train_seed: int | None  # None where it is not known
    split: str
    protocol: str


class Results:
    """Collects an evaluation's rows in memory."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []

    def add_scores(
        self,
        subject: Subject,
        cell: Cell,
        values: Mapping[str, float],
        *,
        label: NDArray[np.float32],
        erased: Mapping[Modality, float],
        checkpoint: str,
        selected_on: str,
    ) -> None:
        """Scores of one condition by one checkpoint.

        Beside the nominal rates stands ``erased``, the share of all places of a modality that
        the noise has taken from the split (the ends of the texts, which are spared, count).
        """
        rates = {f"rate_{m}": cell.rates[m] for m in MODALITIES}
        realised = {f"erased_{m}": erased[m] for m in MODALITIES}
        noise = {"pattern": cell.pattern, "rate": cell.rate, **rates, **realised}
        noise["noise_seed"] = cell.seed
        chosen = {"checkpoint": checkpoint, "selected_on": selected_on}
        row = {**subject._asdict(), **noise, **chosen}
        self._add(row, values, label)

    def add_floors(
        self, subject: Subject, values: Mapping[str, float], *, label: NDArray[np.float32]
    ) -> None:
        """Scores of the best constant predictors on the run's labels, which no noise changes."""
        self._add({**subject._asdict(), "model": CONSTANT, "train_seed": None}, values, label)

    def _add(
        self, row: Mapping[str, Any], values: Mapping[str, float], label: NDArray[np.float32]
    ) -> None:
        for metric, value in values.items():
            counted = np.count_nonzero(label) if metric.endswith("_non0") else len(label)
            self._rows.append({**row, "metric": metric, "value": value, "n": int(counted)})

    def add_predictions(
        self,
        subject: Subject,
        cell: Cell,
        found: Predictions,
        *,
        split: Split,
        checkpoint: str,
    ) -> None:
        """One condition's outputs for every sample; ``rate`` is the largest of the three.

        Each sample's own count of erased places is told, too. The model's extras stand between
        these and the checkpoint under their names.
        """

        def same(value: str) -> pa.DictionaryArray:
            codes = pa.array(np.zeros(len(split), np.int32))
            return pa.DictionaryArray.from_arrays(codes, pa.array([value]))

        self._tables.append(
            pa.table(
                {
                    "run": same(subject.run),
                    "id": pa.array(split.ids, pa.string()),
                    "split": same(subject.split),
                    "protocol": same(subject.protocol),
                    "pattern": same(cell.pattern),
                    "rate": np.full(len(split), cell.rate),
                    "noise_seed": np.full(len(split), cell.seed, np.int64),
                    "label": split.labels,
                    "prediction": found.sentiment,
                    **{f"erased_{m}": found.erased[m] for m in MODALITIES},
                    **found.extras,
                    "checkpoint": same(checkpoint),
                }
            )
        )

    def metrics(self) -> pd.DataFrame:
        """The rows of metrics.csv; undefined values are nan, what does not apply is missing."""
        frame = pd.DataFrame(self._rows, columns=list(COLUMNS))
        return frame.astype({"train_seed": "Int64", "noise_seed": "Int64"})

    def write(self, target: Path, summary: Mapping[str, Any], *, overwrite: bool) -> None:
        """Commits the three files as one folder.

        Raises:
            UserError: the folder exists or cannot be written.
        """
        with alone(target), atomic_folder(target, overwrite=overwrite) as folder:
            self.metrics().to_csv(folder / "metrics.csv", index=False, lineterminator="\n")
            # What only some runs' models tell is missing for the others.
            table = pa.concat_tables(self._tables, promote_options="default").unify_dictionaries()
            definition = json.dumps(summary.get("protocol_definition"))
            table = table.replace_schema_metadata({"protocol_definition": definition})
            pq.write_table(table, folder / "predictions.parquet", compression="zstd")
            text = json.dumps(_without_nan(summary), indent=2, allow_nan=False)
            (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """Undefined numbers as null, which JSON can say."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
