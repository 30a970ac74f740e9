"""Whether prepared data can be scored by a run's network, and what a reader should know."""

import numpy as np

from lnln_dist.config import MODALITIES
from lnln_dist.data.schema import FRAMES, SPLITS, Index, SplitName
from lnln_dist.data.shards import ShardedDataset, Split
from lnln_dist.errors import DataError
from lnln_dist.evaluate.load import encoder_vocabulary_size
from lnln_dist.metrics import left_out
from lnln_dist.runs import Run, RunInfo
from lnln_dist.specs import registry


def check_compatible(run: Run, dataset: ShardedDataset, split: str) -> list[str]:
    """Refuses data the run's network cannot score; returns notes on what differs.

    Args:
        run: the run.
        dataset: prepared data.
        split: name of the split to score.

    Raises:
        DataError: another family, labels of another unit, other widths, longer sequences, another
            vocabulary, or no such split.
    """
    index = dataset.index
    if index.family != run.info.family:
        raise DataError(
            f"{run.folder} was trained for {run.info.family} labels, the data is of family "
            f"{index.family}: give data of the same family with --data"
        )
    _check_labels(run, index)
    if split not in SPLITS:
        raise DataError(f"the data has no split {split}: choose one of {', '.join(SPLITS)}")
    _check_sizes(run, index, split)
    _check_vocabulary(run, index, dataset.split(split))
    return _notes(run, index)


def _check_labels(run: Run, index: Index) -> None:
    info = run.info
    # Of one data set, what was mapped from another range has another unit; two sets in one range
    # are what a transfer compares (a note tells of it).
    same_set = info.dataset == index.dataset
    if info.label_range == index.label_range and not (same_set and _rescaled_otherwise(run, index)):
        return
    remedy = "give data whose labels have the unit of its training with --data"
    if info.rescaled_from is not None:
        low, high = info.rescaled_from
        remedy = f"prepare the data with --label-range {low:g} {high:g} --rescale-labels"
    raise DataError(
        f"{run.folder} was trained on {_unit(info)}, the data has {_unit(index)}: {remedy}"
    )


def _rescaled_otherwise(run: Run, index: Index) -> bool:
    info = run.info
    other = info.rescaling_known and info.data_hash != index.data_hash()
    return other and info.rescaled_from != index.rescaled_from


def _unit(known: RunInfo | Index) -> str:
    words = "labels in [{:g}, {:g}]".format(*known.label_range)
    if known.rescaled_from is not None:
        words += " rescaled from [{:g}, {:g}]".format(*known.rescaled_from)
    return words


def _check_sizes(run: Run, index: Index, split: SplitName) -> None:
    shapes = run.info.shapes
    widths = {"audio": shapes.audio_width, "vision": shapes.vision_width}
    for frames in FRAMES:
        if index.widths[frames] != widths[frames]:
            raise DataError(
                f"{frames} frames have {index.widths[frames]} features, {run.folder} was trained "
                f"with {widths[frames]}: give data with the same features"
            )
    for m in MODALITIES:
        longest, limit = index.splits[split].max_lengths[m], shapes.length(m)
        if longest > limit:
            raise DataError(
                f"{split} has {m} sequences of {longest} places, {run.folder} takes at most "
                f"{limit}: prepare the data with --max-{m} {limit}"
            )


def _check_vocabulary(run: Run, index: Index, split: Split) -> None:
    tokenizer, own = index.tokenizer, run.info.vocab_sha256
    remedy = f"prepare the data with --tokenizer {run.encoder_folder}"
    if own is not None and tokenizer.vocab_sha256 is not None:
        if own != tokenizer.vocab_sha256:
            raise DataError(
                f"the data was tokenised by {tokenizer.name}, another tokenizer than that of "
                f"{run.folder}: {remedy}"
            )
        return
    # Nobody knows whose ids these are; they must at least be in the encoder's table.
    size = encoder_vocabulary_size(run)
    largest = max(int(np.max(split.tokens(row), initial=0)) for row in range(len(split)))
    if size is not None and largest >= size:
        raise DataError(
            f"the data holds token id {largest}, the encoder of {run.folder} knows {size} "
            f"tokens: {remedy}"
        )


def other_code(run: Run) -> list[str]:
    """A note if the file of a user's model is not the one the run was trained with."""
    name, there = run.config.model.name, run.info.model_sha256
    here = registry.code_sha256(name)
    if there is None or here is None or there == here:
        return []
    return [
        f"trained with another file of model {name} (sha256 {there[:12]} there, {here[:12]} here): "
        "this need not be the network that was trained"
    ]


def _notes(run: Run, index: Index) -> list[str]:
    notes = []
    if run.info.data_hash is None:
        notes.append("an imported checkpoint: the data it was trained on are not known")
    elif run.info.data_hash != index.data_hash():
        same = run.info.dataset == index.dataset
        notes.append(
            f"not the data it was trained on, though both are called {index.dataset}"
            if same
            else f"trained on {run.info.dataset}, evaluated on {index.dataset}"
        )
        if not same and _rescaled_otherwise(run, index):
            notes.append(f"trained on {_unit(run.info)}, the data has {_unit(index)}")
    notes += other_code(run)
    if run.info.vocab_sha256 is None or index.tokenizer.vocab_sha256 is None:
        notes.append("the tokenizer of the run or of the data is not known: ids were not compared")
    if lacking := left_out(index.family, index.label_range):
        notes.append(lacking)
    return notes
