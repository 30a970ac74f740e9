"""A trained model in three lines: ``lnln_dist.load(path).predict(text=..., audio=...)``."""

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lnln_dist.data.noise import CleanNoise, Noise
from lnln_dist.data.tokens import TextTokenizer, load_tokenizer
from lnln_dist.errors import CheckpointError, DataError
from lnln_dist.evaluate.cases import finished
from lnln_dist.evaluate.compatible import other_code
from lnln_dist.evaluate.explain import Plan
from lnln_dist.evaluate.load import build_model, load_weights
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.single import words_of
from lnln_dist.runs import Run
from lnln_dist.runtime import Runtime
from lnln_dist.share.folder import write_export
from lnln_dist.share.inputs import Given, as_split, predicted


def load(path: str | Path, *, checkpoint: str = "best", cpu: bool = False) -> "Model":
    """A trained model, ready to predict.

    Args:
        path: a run folder, or a folder that ``lnln-dist export`` or ``save_pretrained`` wrote.
        checkpoint: which of a run's best checkpoints.
        cpu: use the CPU even if there is a GPU.

    Raises:
        UserError: it is neither, is damaged, or is a model whose own module cannot be imported.

    Warns:
        UserWarning: that module is not the one the model was trained with.
    """
    run = Run(Path(path).expanduser())
    for note in other_code(run):
        warnings.warn(note, stacklevel=2)
    return Model(run, checkpoint=checkpoint, runtime=Runtime(cpu=cpu or None))


class Model:
    """A trained network with its tokenizer.

    Attributes:
        run: the settings, data set and sizes it was trained with (``run.config``, ``run.info``).
        network: the ``nn.Module`` in evaluation mode; change its weights and ``save_pretrained``
            keeps them.
        note: which checkpoint it is (epoch, score, the split that chose it).

    Raises:
        UserError: see ``load``.
    """

    def __init__(self, run: Run, *, checkpoint: str, runtime: Runtime) -> None:
        self.run = run
        self.network = build_model(run)
        self.note: dict[str, Any] = load_weights(self.network, run, checkpoint)
        self.network.to(runtime.device)
        self._runtime = runtime
        self._tokenizer: TextTokenizer | None = None

    def __repr__(self) -> str:
        low, high = self.run.info.label_range
        told = [f"{key} {self.note[key]}" for key in ("epoch", "selected_on") if key in self.note]
        what = f"{self.run.config.model.name} of {self.run.folder}"
        of_data = f"{self.run.info.dataset}, labels in [{low:g}, {high:g}]"
        return f"<{what} ({', '.join(told) or 'imported'}): {of_data}>"

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Model":
        """As ``load``: a folder on this machine, nothing is fetched."""
        return load(folder)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        results: str | Path | None = None,
        graphs: Collection[str] = (),
        overwrite: bool = False,
    ) -> dict[str, float]:
        """Writes the model as one folder, whole or not at all (see ``share.folder.write_export``).

        Args:
            folder: to write.
            results: an evaluation of this model, whose scores go into the model card.
            graphs: ``model.onnx`` and ``model.pt2``, if they are to be written too.
            overwrite: replace an earlier export.

        Returns:
            Each graph's largest difference from ``predict`` (before classes are decided on).

        Raises:
            UserError: the folder exists or cannot be written, the results are not of this model,
                or the network has no such graph.
        """
        return write_export(
            self.run,
            Path(folder).expanduser(),
            network=self.network,
            note=self.note,
            results=None if results is None else Path(results),
            graphs=graphs,
            tokenizer=self.tokenizer if graphs else None,
            overwrite=overwrite,
        )

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer it was trained with.

        Raises:
            DataError: it is not in the folder, or damaged.
        """
        if self._tokenizer is None:
            folder = self.run.encoder_folder
            try:
                self._tokenizer = load_tokenizer(str(folder))
            except DataError as err:
                raise DataError(
                    f"{folder}: no tokenizer that can be read ({err}): copy the tokenizer of the "
                    "model's encoder there"
                ) from err
            known, own = self.run.info.vocab_sha256, self._tokenizer.info.vocab_sha256
            if known is not None and own != known:
                self._tokenizer = None
                raise CheckpointError(
                    f"{folder} holds another tokenizer than the one the model was trained with: "
                    "copy the folder anew"
                )
        return self._tokenizer

    def predict(
        self, text: Any = None, audio: Any = None, vision: Any = None, *, batch_size: int = 128
    ) -> pd.DataFrame:
        """Predicts the sentiment of N samples from any of the three modalities.

        Args:
            text: a sentence, or N of them (list, array or pandas Series).
            audio: frames [T, D] with the features of the training data (array or DataFrame), a
                list of N such arrays of any lengths, or [N, T, D] padded with zeros at the end.
            vision: as ``audio``. A modality that is left out, and a sample whose entry is None,
                is taken for wholly missing; so is, frame by frame, what is zero.
            batch_size: samples per forward pass.

        Returns:
            One row per sample, with the index of what is a Series (text, audio and vision must
            then have the same): ``prediction`` in
            the unit of the training labels (``run.info.label_range``), or the value of the class
            of a run with classes; and a column for whatever else there is: ``p_VALUE``, the
            probability of each class; LNLN's ``completeness``, the share of the text that is there.

        Raises:
            DataError: nothing given, other types, unequal numbers of samples, Series with different
                indexes, another width D, frames that are not finite, or no tokenizer in the folder.
            CheckpointError: a prediction is not finite.

        Warns:
            UserWarning: a sample is longer than the model takes; its end was cut off.
        """
        given = self._given(text, audio, vision)
        (found,) = self._predict(given, [CleanNoise()], batch_size)
        columns = {"prediction": found.sentiment, **found.extras}
        index = next((x.index for x in (text, audio, vision) if isinstance(x, pd.Series)), None)
        return pd.DataFrame(columns, index=index)

    def explain(
        self,
        text: Any = None,
        audio: Any = None,
        vision: Any = None,
        *,
        seconds: Any = None,
        batch_size: int = 128,
    ) -> list[dict[str, Any]]:
        """What each modality, token and window of frames did to the prediction of each sample.

        Args:
            text: as ``predict``.
            audio: as ``predict``.
            vision: as ``predict``.
            seconds: length of each clip [N], or of one, which gives windows times.
            batch_size: samples per forward pass.

        Returns:
            The records of ``evaluate.explain.Plan``, one per sample.

        Raises:
            UserError: as ``predict``; ``seconds`` is not one number per sample.
        """
        given = self._given(text, audio, vision)
        seconds_N = None if seconds is None else np.atleast_1d(np.asarray(seconds, np.float64))
        if seconds_N is not None and seconds_N.shape != (len(given),):
            raise DataError(f"seconds has the shape {seconds_N.shape}, expected ({len(given)},)")
        plan = Plan(as_split(given))
        found = self._predict(given, plan.noises, batch_size)
        return plan.records(found, words_of(self.run), seconds_N)

    def _given(self, text: Any, audio: Any, vision: Any) -> Given:
        shapes = self.run.info.shapes
        given = Given(text, audio, vision, shapes=shapes, tokenizer=self.tokenizer)
        for modality, count in given.cut.items():
            if count:
                warnings.warn(
                    f"{count} of {len(given)} samples have more {modality} than the "
                    f"{shapes.length(modality)} places the model takes: their ends were cut off",
                    stacklevel=3,
                )
        return given

    def _predict(self, given: Given, noises: Sequence[Noise], batch_size: int) -> list[Predictions]:
        found = predicted(
            self.network,
            given,
            noises,
            run=self.run,
            tokenizer=self.tokenizer,
            runtime=self._runtime,
            batch_size=batch_size,
        )
        return finished(found, self.run, self.note.get("thresholds"))
