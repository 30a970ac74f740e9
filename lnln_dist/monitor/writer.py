"""TensorBoard events and JSON lines of a run; every tag name of the project is made here.

The table of tags is in ``lnln_dist/README.md``.
"""

import json
import math
import re
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from lnln_dist.files import atomic_write, explain_os_errors
from lnln_dist.monitor.hparams import hparam_summaries


def rate_tag(split: str, metric: str, rate: float) -> str:
    """Tag of one score at one missing rate."""
    return (
        f"{split}/{metric}/r{rate:.1f}" if round(rate, 1) == rate else f"{split}/{metric}/r{rate}"
    )


def mean_tag(split: str, metric: str) -> str:
    """Tag of one score averaged over the noise grid."""
    return f"{split}/{metric}/mean"


# Page of the custom scalars: chart -> tags, as patterns.
TRAINING_CHARTS = {
    "loss terms": [r"loss/(?!total)"],
    "loss terms times their weights": [r"loss_weighted/"],
    "total loss": [r"loss/total$"],
    "completeness": [r"completeness/"],
    "learning rates": [r"optim/lr/"],
    "gradient norm": [r"optim/grad_norm$"],
    "milliseconds of a step": [r"speed/(data_wait|forward|backward|update)_ms$"],
}


def layout(
    split: str, metrics: Sequence[str], rates: Sequence[float]
) -> dict[str, dict[str, list[Any]]]:
    """The custom-scalar page: each score over all missing rates, then what training tells.

    Args:
        split: that is scored after every epoch.
        metrics: the scores; the first is the one that chooses.
        rates: missing rates.
    """
    scores = {
        name: ["Multiline", [f"{re.escape(rate_tag(split, name, rate))}$" for rate in rates]]
        for name in metrics
    }
    training = {chart: ["Multiline", tags] for chart, tags in TRAINING_CHARTS.items()}
    return {f"{split} by missing rate": scores, "training": training}


class Writer:
    """Writes one run's log; make it on the main process only.

    Args:
        folder: the run folder; events go to ``events/``, JSON lines to ``log.jsonl``.
        start_step: what an interrupted run wrote after this step is taken back.
    """

    def __init__(self, folder: Path, *, start_step: int = 0) -> None:
        self._path = folder / "log.jsonl"
        with explain_os_errors(folder):
            if self._path.exists():
                self._take_back(start_step)
            if not start_step:
                # Killed before its first checkpoint: nothing of it stays, nor is there a step
                # after which a reader could be told to forget.
                for old in (folder / "events").glob("events.out.tfevents.*"):
                    old.unlink()
            self._lines = self._path.open("a", encoding="utf-8")
            purge = start_step + 1 if start_step else None
            self._events = SummaryWriter(str(folder / "events"), purge_step=purge)

    def _take_back(self, start_step: int) -> None:
        kept = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                before = json.loads(line)["step"] <= start_step
            except (ValueError, KeyError, TypeError):
                continue  # a line cut short when the process was killed
            if before:
                kept.append(line)
        atomic_write(self._path, "".join(f"{line}\n" for line in kept))

    def describe(
        self,
        config_yaml: str,
        flat: Mapping[str, Any],
        metric_tags: list[str],
        charts: Any,
        *,
        first: Collection[str] = (),
    ) -> None:
        """Writes the config as text and hparams, and the layout of the custom-scalar page.

        Args:
            config_yaml: for the text page.
            flat: the config by dotted key.
            metric_tags: scores beside the hparams.
            charts: ``layout`` of the custom-scalar page.
            first: keys that the hparams page shows at once.
        """
        self._events.add_text("config", f"```yaml\n{config_yaml}\n```", 0)
        # Straight into this run: add_hparams would open a second, time-named one.
        files: Any = self._events.file_writer
        for summary in hparam_summaries(flat, metric_tags, first=first):
            files.add_summary(summary)
        self._events.add_custom_scalars(charts)
        self._events.flush()

    def log(self, kind: str, step: int, values: Mapping[str, float], **more: Any) -> None:
        """One line and one point per tag; ``more`` goes into the line only."""
        with explain_os_errors(self._path):
            defined = {tag: value for tag, value in values.items() if math.isfinite(value)}
            for tag, value in defined.items():
                self._events.add_scalar(tag, value, step)
            undefined = dict.fromkeys(values.keys() - defined.keys())  # JSON knows no NaN
            line = {"kind": kind, "step": step, "time": round(time.time(), 3)}
            line |= more | defined | undefined
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()

    def histogram(self, tag: str, values: Any, step: int) -> None:
        """A distribution, such as predictions beside labels."""
        self._events.add_histogram(tag, values, step)

    def figure(self, tag: str, drawn: Any, step: int) -> None:
        """A matplotlib figure as an image."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
        image_HWC = np.asarray(canvas.buffer_rgba())[..., :3]
        self._events.add_image(tag, image_HWC, step, dataformats="HWC")

    def text(self, tag: str, markdown: str, step: int) -> None:
        """A text, which TensorBoard reads as Markdown and sanitises."""
        self._events.add_text(tag, markdown, step)

    def features(
        self, tag: str, matrix_ND: Any, about: list[list[str]], head: list[str], step: int
    ) -> None:
        """Points of the projector, in place of any earlier ones, and a line about each."""
        with explain_os_errors(self._path):
            for old in self._path.parent.glob(f"events/[0-9]*/{tag}"):
                shutil.rmtree(old.parent)
            cells = [[" ".join(cell.split()) for cell in line] for line in about]
            self._events.add_embedding(matrix_ND, cells, None, step, tag, head)

    def close(self) -> None:
        """Flushes everything."""
        self._events.flush()
        self._events.close()
        self._lines.close()
