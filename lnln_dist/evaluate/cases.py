"""The runs of an evaluation, each with the data it is scored on, checked before anything runs."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lnln_dist.config import MODALITIES, Modality
from lnln_dist.data.damage import explain_damaged_data, witnessed
from lnln_dist.data.noise import Noise
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import ShardedDataset, Split, open_dataset
from lnln_dist.errors import CheckpointError, DataError, UserError
from lnln_dist.evaluate.compatible import check_compatible
from lnln_dist.evaluate.predict import Predictions, decided, predict
from lnln_dist.metrics import MACRO, defined, names
from lnln_dist.runs import Run
from lnln_dist.runtime import Runtime
from lnln_dist.settings import config_hash
from lnln_dist.specs.spec import check_extras

PER_METRIC = "per-metric"  # every score from the checkpoint that was kept for it


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run with data that fits it."""

    name: str  # tells it from the other runs
    run: Run
    data: str  # where the data is
    index: Index
    split: Split
    notes: list[str]  # what a reader of its scores should know
    checkpoints: dict[str, tuple[str, ...]]  # name -> the scores that are taken from it

    @property
    def train_seed(self) -> int | None:
        """Seed of the training; None where it is not known."""
        return None if self.run.info.origin == "imported" else self.run.config.train.seed

    @property
    def padded_lengths(self) -> dict[Modality, int]:
        """Places that padding ``corpus`` fills: the data's cut, within the model's tables."""
        own = self.index.padded_lengths
        return {m: min(own[m], self.run.info.shapes.length(m)) for m in MODALITIES}

    @property
    def group(self) -> str:
        """The same for runs that differ in their training seed alone."""
        if self.train_seed is None:
            return self.name
        config, info = self.run.config, self.run.info
        train = dataclasses.replace(config.train, seed=0)
        parts = [config_hash(dataclasses.replace(config, train=train)), str(info.data_hash)]
        # Neither a user's code nor a teacher's weights are in the config's hash.
        for what, found in (("model", info.model_sha256), ("teacher", info.teacher_sha256)):
            parts += [f"{what}:{found}"] if found else []
        return "-".join(parts)


def open_cases(
    runs: Sequence[Path], *, data: str | None, split: str, checkpoint: str
) -> list[Case]:
    """Opens runs and data and checks that they go together.

    Args:
        runs: run folders.
        data: prepared data (a folder or a URI of one); None takes each run's own.
        split: name of the split.
        checkpoint: name of a best checkpoint, or ``per-metric``.

    Raises:
        UserError: a run or its data cannot be used, or they do not fit together.
    """
    opened: dict[str, ShardedDataset] = {}
    cases = []
    for name, folder in zip(run_names(runs), runs, strict=True):
        run = Run(folder)
        place = data if data is not None else run.config.data.path
        if not place:
            raise DataError(f"{folder} names no data: give prepared data with --data")
        if place not in opened:
            opened[place] = open_dataset(place)
        dataset = opened[place]
        notes = check_compatible(run, dataset, split)
        names = _checkpoints(run, checkpoint)
        cases.append(
            Case(
                name=name,
                run=run,
                data=str(dataset.folder.resolve()),
                index=dataset.index,
                split=dataset.split(split),
                notes=notes,
                checkpoints=names,
            )
        )
    return cases


def predict_case(
    case: Case,
    model: nn.Module,
    noises: Sequence[Noise],
    *,
    runtime: Runtime,
    batch_size: int,
    workers: int = 0,
    thresholds: Sequence[float] | None = None,
    before_pass: Callable[[float], object] = lambda _: None,
) -> list[Predictions]:
    """A run's predictions for its split under each noise, padded as in its training.

    See ``predict`` and ``decided``; ``thresholds`` are in the note of a checkpoint.

    Raises:
        CheckpointError: a prediction is not finite.
        DataError: the data were cut short under it.
        UserError: one of the network's extras has the name of a column of the results.
    """
    with witnessed(case.data), explain_damaged_data(case.data):
        found = predict(
            model,
            case.split,
            noises,
            runtime=runtime,
            padding=case.run.config.data.padding,
            padded_lengths=case.padded_lengths,
            unk_id=case.index.tokenizer.unk_id,
            pad_id=case.index.tokenizer.pad_id,
            batch_size=batch_size,
            workers=workers,
            normalised=case.run.info.normalised,
            before_pass=before_pass,
        )
    check_extras(found[0].extras, model=case.run.config.model.name)
    return finished(found, case.run, thresholds)


def finished(
    found: Sequence[Predictions], run: Run, thresholds: Sequence[float] | None
) -> list[Predictions]:
    """Predictions of a run that are numbers, with classes decided on (see ``decided``).

    Raises:
        CheckpointError: one is not finite.
    """
    for one in found:
        if one.lost:
            raise CheckpointError(
                f"{run.folder}: {one.lost} of {len(one.sentiment)} predictions are not finite: "
                "this checkpoint is of no use, take an earlier one or train again"
            )
    return [decided(one, run.info.family, thresholds) for one in found]


def run_names(runs: Sequence[Path]) -> list[str]:
    """Short names that tell the runs apart: the last parts of their paths, as many as needed.

    Raises:
        UserError: a run is given twice.
    """
    parts = [run.expanduser().resolve().parts for run in runs]
    twice = [runs[i] for i, count in enumerate(map(parts.count, parts)) if count > 1]
    if twice:
        raise UserError(f"{twice[0]}: the run is given twice")
    used = 1
    while len({p[-used:] for p in parts}) < len(parts):
        used += 1
    return [str(Path(*p[-used:])) for p in parts]


def _checkpoints(run: Run, wanted: str) -> dict[str, tuple[str, ...]]:
    family, count = run.info.family, run.config.task.classes
    if wanted != PER_METRIC:
        return {wanted: names(family, count)}
    metrics = defined(family, run.info.label_range, count)
    if not count:  # runs of before there was a macro-F1 keep no checkpoint for it
        metrics = tuple(m for m in metrics if m not in MACRO[family] or m in run.best_names())
    lacking = [name for name in metrics if name not in run.best_names()]
    if lacking:
        raise CheckpointError(
            f"{run.folder} keeps no checkpoint for {', '.join(lacking)}: train with "
            "select.per_metric true, or evaluate with --checkpoint best"
        )
    return {name: (name,) for name in metrics}
