"""Evaluations with known predictions, written by the real writer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from feature_files import feature_split, write

from lnln_dist.config import MODALITIES
from lnln_dist.data.convert import prepare
from lnln_dist.data.schema import Index
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.protocol import Cell
from lnln_dist.evaluate.registry import PROTOCOLS, customised
from lnln_dist.evaluate.results import Results, Subject
from lnln_dist.metrics import floors, scores

LABEL = np.tile(np.array([-3, -2, -1, -0.4, 0, 0.6, 1, 2, 2.5, 3], np.float32), 6)


class _Split:
    """What the writer asks of a split."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels, self.ids = labels, [f"v{i:03d}" for i in range(len(labels))]

    def __len__(self) -> int:
        return len(self.ids)


def write_evaluation(
    folder: Path,
    runs: Mapping[str, tuple[str, int | None, float]],
    *,
    rates: Sequence[float] = (0.0, 0.5),
    seeds: Sequence[int] = (1, 2),
    absent: Sequence[str] = (),
    missing: Sequence[Sequence[str]] = (),
    slope: float | None = None,
    training_sd: float = 0.02,
    hardness_sd: float = 0.5,
    alarms: Sequence[str] = (),
    training: Mapping[str, Mapping[str, Any]] | None = None,
    base: str = "paper",
    **summary: Any,
) -> Path:
    """Runs by name: (model, training seed, error), whose predictions are off by about ``error``.

    Two models with the same seeds meet the same difficulties, so that their difference is small
    beside either's spread. ``slope``: of the completeness that is predicted, if any;
    ``training``: settings by model, where they are noted; ``base``: protocol of the conditions;
    ``data``: folder of the evaluated data, if there are any (``write_evaluated_data``).
    """
    results, records = Results(), []
    label = summary.pop("label", LABEL)
    where = {
        "data": summary.pop("data", ""),
        "folder": summary.pop("run_folder", ""),
        "dataset": summary.pop("dataset", "demo"),
    }
    protocol = customised(PROTOCOLS[base], rates=rates, seeds=seeds, absent=absent, missing=missing)
    cells = protocol.cells()
    split = _Split(label)
    about = {"split": "test", "protocol": "paper", "data_hash": "d", "family": "mosi", **summary}
    for name, (model, seed, error) in runs.items():
        subject = Subject(name, model, seed, about["split"], about["protocol"])
        for cell in cells:
            values = _predict(cell, label, seed, error, training_sd, hardness_sd)
            made = scores(values, label, about["family"])
            chosen = {"checkpoint": "best", "selected_on": "valid"}
            results.add_scores(subject, cell, made, label=label, erased=cell.rates, **chosen)
            share = np.full(len(label), 0.5 + (slope or 0) * (1 - cell.rate), np.float32)
            extras = {} if slope is None else {"completeness": share}
            taken = {m: np.full(len(label), round(10 * cell.rates[m])) for m in MODALITIES}
            found = Predictions(values.astype(np.float32), extras, taken)
            results.add_predictions(subject, cell, found, split=split, checkpoint="best")
        results.add_floors(subject, floors(label, about["family"]), label=label)
        records.append(
            {"run": name, "group": model, "recipe": "paper", "train_seed": seed}
            | {key: about[key] for key in ("data_hash", "family")}
            | {"samples": len(label), "notes": []}
            | where
            | ({} if training is None else {"training": training.get(model)})
        )
    definition = {"protocol_definition": protocol.definition()}
    whole = {"format": 1, **about, **definition, "absent": list(absent), "alarms": list(alarms)}
    results.write(folder, {**whole, "runs": records}, overwrite=False)
    return folder


def write_evaluated_data(folder: Path, texts: Sequence[str]) -> Index:
    """Prepared data whose test split has the samples of ``write_evaluation``."""
    content = {split: feature_split(split, len(LABEL)) for split in ("train", "valid", "test")}
    for split in content.values():
        del split["text_bert"]
        split["raw_text"] = np.array([texts[i % len(texts)] for i in range(len(LABEL))])
    content["test"] |= {"id": _Split(LABEL).ids, "regression_labels": LABEL}
    return prepare(
        write(folder.with_suffix(".pkl"), content), folder, dataset="mosi", tokenizer="corpus"
    )


def _predict(
    cell: Cell,
    label: np.ndarray,
    seed: int | None,
    error: float,
    training_sd: float,
    hardness_sd: float,
) -> np.ndarray:
    """Float32-exact predictions whose mean absolute error is about error + rate."""
    rate = np.mean([cell.rates[m] for m in MODALITIES])
    chance = np.random.default_rng([9, cell.seed])
    hard = 1 + hardness_sd * (chance.gamma(4, 0.5, len(label)) - 2) / 2
    luck = training_sd * np.random.default_rng([7, seed or 0]).normal()
    off = (error + luck + 0.3 * rate) * hard * np.where(np.arange(len(label)) % 2, 1, -1)
    return (label + off).astype(np.float32)
