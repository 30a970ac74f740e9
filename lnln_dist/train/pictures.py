"""What TensorBoard shows of validation beside numbers: figures, sentences, fused features.

Figures and sentences are made after the last epoch, and before it as often as they take no more
than ``SHARE`` of the run's time. The features of the projector come with the last.
"""

import contextlib
import html
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lnln_dist.config import Config
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import Split
from lnln_dist.evaluate.erased import pieces, read_places, tokenizer_in
from lnln_dist.evaluate.protocol import grid, noises_for
from lnln_dist.metrics import floors
from lnln_dist.monitor.writer import Writer
from lnln_dist.report.terms import class_names, classes
from lnln_dist.train.task import Task
from lnln_dist.train.validate import GridScores
from lnln_dist.types import Prediction

SHARE = 0.02  # of the run's time
EXPECTED_S = 1.0  # the first time, the import of matplotlib included
MOST_FEATURES = 500  # samples of the projector
SENTENCES = 8
HEAD = "sentiment"  # name of the module that reads the prediction off the fused feature


class Told(NamedTuple):
    """What a network said in one validation that the scores do not keep, of this rank's samples."""

    features: dict[int, Tensor]  # row -> [D], under the lowest rate


class Pictures:
    """Makes them for one run; on the main process only.

    Args:
        writer: of the run.
        config: of the run.
        split: that validation scores.
        index: of the data.
        tokenizer: folders that may hold the tokenizer's files.
    """

    def __init__(
        self,
        writer: Writer,
        config: Config,
        split: Split,
        index: Index,
        tokenizer: Sequence[Path | None],
    ) -> None:
        self._writer, self._select = writer, config.select
        self._classes = config.task.classes
        self._split, self._index, self._tokenizer = split, index, tokenizer
        chosen = np.random.default_rng(0).permutation(len(split))[:MOST_FEATURES]
        self._rows = frozenset(chosen.tolist())
        self._told = Told({})
        self._begin, self._spent, self._cost = time.perf_counter(), 0.0, EXPECTED_S

    @contextlib.contextmanager
    def watching(self, task: nn.Module) -> Iterator[None]:
        """Listens to the network that a wrapped task holds while it is validated."""
        self._told = Told({})
        entering: list[Tensor] = []
        inner = next(module for module in task.modules() if isinstance(module, Task))
        head = getattr(inner.model, HEAD, None)
        hooks = [
            inner.register_forward_hook(lambda _, given, out: self._note(given[0], out, entering))
        ]
        if isinstance(head, nn.Linear):
            hooks.append(
                head.register_forward_pre_hook(lambda _, given: entering.append(given[0].detach()))
            )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _note(self, batch: Any, output: Any, entering: list[Tensor]) -> None:
        if isinstance(output, Prediction):
            rate = round(float(batch.text.rate_B[0]), 6)
            if entering and entering[-1].ndim == 2 and rate <= round(min(self._select.rates), 6):
                for row, x_D in zip(batch.row_B.tolist(), entering[-1].float().cpu(), strict=True):
                    if row in self._rows:
                        self._told.features.setdefault(row, x_D)
        entering.clear()

    def draw(self, step: int, scores: GridScores, *, last: bool) -> None:
        """Shows the validation just made, if it is time to."""
        begin = time.perf_counter()
        if not last and self._spent + self._cost > SHARE * (begin - self._begin):
            return
        self._figures(step, scores)
        self._writer.text(f"{self._select.split}/sentences", self._sentences(scores), step)
        if last and self._told.features:
            self._features(step, scores)
        self._cost = time.perf_counter() - begin
        self._spent += self._cost

    def _figures(self, step: int, scores: GridScores) -> None:
        from lnln_dist.report import figures  # matplotlib takes long to import

        select, index, label_N = self._select, self._index, self._split.labels
        values = [scores.by_rate[rate][select.metric] for rate in select.rates]
        unknown = [np.nan] * len(values)
        curve = figures.curves(
            {"this epoch": figures.Curve(values, unknown, unknown)},
            select.metric,
            rates=select.rates,
            floor=floors(label_N, index.family, index.label_range).get(select.metric, np.nan),
        )
        self._writer.figure(f"{select.split}/curve", curve, step)
        names, middle = class_names(index.family, self._classes), len(select.rates) // 2
        true_N = classes(label_N, index.family, self._classes)
        counts = np.zeros((len(names), len(names)))
        for said_N in _by_cell(scores, self._select)[middle]:
            np.add.at(counts, (true_N, classes(said_N, index.family, self._classes)), 1)
        tag = f"{select.split}/confusion_r{select.rates[middle]:g}"
        self._writer.figure(tag, figures.confusion(counts, names), step)
        if (told := scores.completeness) is not None:
            table = {told.there[rate]: pair for rate, pair in told.by_rate.items()}
            made = figures.completeness({"this epoch": table})
            self._writer.figure(f"{select.split}/completeness", made, step)

    def _sentences(self, scores: GridScores) -> str:
        """A table as HTML, which TensorBoard sanitises; texts are escaped, so they stay texts."""
        select, split, seed = self._select, self._split, self._select.seeds[0]
        tokenizer = tokenizer_in(self._tokenizer)
        by_label = np.argsort(split.labels, kind="stable")
        places = np.linspace(0, len(by_label) - 1, min(SENTENCES, len(by_label))).astype(int)
        rates = sorted(select.rates)
        noises = noises_for(grid(rates, [seed]), select.noise, split, self._index.padded_lengths)
        said = _by_cell(scores, select)
        lines = []
        for row in by_label[places].tolist():
            cut = pieces(split.raw_text(row), split.tokens(row).tolist(), tokenizer)
            masks = read_places(split, row, noises)["text"]
            for rate, keep_T in zip(rates, masks, strict=True):
                value = said[select.rates.index(rate)][0][row]
                numbers = f"{rate:g}", f"{split.labels[row]:.2f}", f"{value:.2f}"
                text = "".join(_shown(piece, place, keep_T) for piece, place in cut)
                cells = "".join(f"<td>{x}</td>" for x in (*map(_padded, numbers), text))
                lines.append(f"<tr>{cells}</tr>")
        names = *map(_padded, ("rate", "label", "prediction")), "text (boxed: erased)"
        head = "".join(f"<th>{name}</th>" for name in names)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def _features(self, step: int, scores: GridScores) -> None:
        rows, ids = sorted(self._told.features), self._split.ids
        said_N = _by_cell(scores, self._select)[self._select.rates.index(min(self._select.rates))][
            0
        ]
        about = [[ids[r], f"{self._split.labels[r]:.2f}", f"{said_N[r]:.2f}"] for r in rows]
        matrix = torch.stack([self._told.features[row] for row in rows])
        self._writer.features("fused", matrix, about, ["id", "label", "prediction"], step)


def _by_cell(scores: GridScores, select: Any) -> NDArray[np.float32]:
    """Predictions [rates, seeds, N], in the order of the settings."""
    return scores.predictions.reshape(len(select.rates), len(select.seeds), -1)


def _padded(text: str) -> str:
    # TensorBoard breaks words in narrow columns.
    return f"&nbsp;&nbsp;&nbsp;{text}&nbsp;&nbsp;&nbsp;"


def _shown(piece: str, place: int, keep_T: NDArray[np.bool_]) -> str:
    text = html.escape(piece)
    return f"<code>{text}</code>" if place >= 0 and not keep_T[place] else text
