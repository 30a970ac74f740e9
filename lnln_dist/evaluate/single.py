"""Predictions of one run for one split, as a CSV file."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lnln_dist.data.convert import prepare
from lnln_dist.data.noise import CleanNoise
from lnln_dist.data.presets import PRESETS
from lnln_dist.errors import UserError
from lnln_dist.evaluate.cases import open_cases, predict_case
from lnln_dist.evaluate.load import load_model
from lnln_dist.files import atomic_write
from lnln_dist.runs import Run
from lnln_dist.runtime import Runtime


def predict_file(
    run: Path,
    data: Path,
    *,
    output: Path,
    runtime: Runtime,
    split: str = "test",
    checkpoint: str = "best",
    batch_size: int = 128,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Predicts a split without added noise; call it on all ranks.

    Args:
        run: run folder.
        data: prepared data, or an MMSA pickle, which is prepared into a temporary folder first.
        output: CSV file to write: id, label, prediction, and what the model tells beside it.
        runtime: this process and its peers.
        split: the split to predict.
        checkpoint: name of a best checkpoint.
        batch_size: samples per forward pass and rank.
        overwrite: replace an existing file.

    Raises:
        UserError: run or data cannot be used, they do not fit, or the file cannot be written.
    """
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists: choose another file, remove it or pass --overwrite")
    with contextlib.ExitStack() as stack:
        place = data
        if data.is_file():
            place = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "prepared"
            _prepare(data, place, Run(run))
        (case,) = open_cases([run], data=str(place), split=split, checkpoint=checkpoint)
        model = load_model(case.run, checkpoint).to(runtime.device)
        (found,) = predict_case(case, model, [CleanNoise()], runtime=runtime, batch_size=batch_size)
        table = pd.DataFrame(
            {
                "id": list(case.split.ids),
                "label": np.array(case.split.labels),
                "prediction": found.sentiment,
                **found.extras,
            }
        )
    text = table.to_csv(index=False, lineterminator="\n")
    runtime.on_main(lambda: atomic_write(output, text))
    return table


def _prepare(source: Path, target: Path, run: Run) -> None:
    """Prepares a feature file for a run, with token ids of the run's tokenizer.

    The file's own ids are taken where they are that tokenizer's: for a checkpoint of the
    released code, which knows no others, and where a public data set's tokenizer is the run's.
    Else its sentences are tokenised.
    """
    info, preset = run.info, PRESETS.get(run.info.dataset)
    ids_of = preset.tokenizer.vocab_sha256 if preset and preset.tokenizer else None
    known = info.vocab_sha256 is None or info.vocab_sha256 == ids_of
    prepare(
        source,
        target,
        dataset=info.dataset,
        family=info.family,
        label_range=info.label_range,
        tokenizer=None if known else str(run.encoder_folder),
        text_source="text_bert" if known or info.origin == "imported" else "raw_text",
    )
