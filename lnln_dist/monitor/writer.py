"""TensorBoard events and JSON lines of a run; every tag name of the project is made here.

Tags: ``loss/TERM`` raw and ``loss_weighted/TERM``; ``optim/...``; ``completeness/...`` (share of
the text the check believes in, against the label); ``speed/...`` and ``memory/...``;
``SPLIT/METRIC/mean`` and ``SPLIT/METRIC/r0.2`` for the scores of the noise grid.
"""

import json
import math
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

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
        rates_chart: Any,
        *,
        first: Collection[str] = (),
    ) -> None:
        """Writes the config as text and hparams, and the layout of the custom-scalar page.

        Args:
            config_yaml: for the text page.
            flat: the config by dotted key.
            metric_tags: scores beside the hparams.
            rates_chart: layout of the custom-scalar page.
            first: keys that the hparams page shows at once.
        """
        self._events.add_text("config", f"```yaml\n{config_yaml}\n```", 0)
        # Straight into this run: add_hparams would open a second, time-named one.
        files: Any = self._events.file_writer
        for summary in hparam_summaries(flat, metric_tags, first=first):
            files.add_summary(summary)
        self._events.add_custom_scalars(rates_chart)
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

    def close(self) -> None:
        """Flushes everything."""
        self._events.flush()
        self._events.close()
        self._lines.close()
