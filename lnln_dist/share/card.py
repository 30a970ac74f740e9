"""The model card of an exported model: what it is, its use, its scores and what they depend on."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData

from lnln_dist.errors import UserError, install
from lnln_dist.evaluate.again import command
from lnln_dist.evaluate.results import SUMMARY
from lnln_dist.runs import Run
from lnln_dist.specs.registry import find_spec, is_own

TASK = "multimodal-sentiment-analysis"
SYNTHETIC = "demo"  # the data set that `synthesize` makes up


class Score(NamedTuple):
    """One score, the mean over conditions (missing rates) and noise seeds."""

    metric: str
    value: float
    low: float  # 95 % interval over samples and noise seeds
    high: float
    constant: float  # the best that any constant prediction reaches


class Scores(NamedTuple):
    """A model's scores in one evaluation, with what they depend on."""

    dataset: str
    data_hash: str
    split: str
    samples: int
    protocol: str
    selected_on: str
    noise_seeds: int
    command: str  # makes them again
    scores: list[Score]
    by_condition: pd.DataFrame  # conditions down, by their names; scores across
    alarms: list[str]  # that the evaluation raised for these weights

    @property
    def terms(self) -> str:
        """What a number means without which it cannot be compared."""
        names = list(self.by_condition.index)
        chosen = "an unknown split" if self.selected_on == "unknown" else self.selected_on
        return (
            f"protocol {self.protocol}, split {self.split}, checkpoint chosen on "
            f"{chosen}, mean over {len(names)} conditions (missing rates or patterns "
            f"{names[0]} to {names[-1]}) and {self.noise_seeds} noise seeds, one training seed"
        )


def read_scores(results: Path, weights_sha256: str) -> Scores:
    """The scores of some weights in an evaluation.

    Args:
        results: what ``evaluate`` wrote.
        weights_sha256: ``evaluate.load.weights_sha256`` of the network.

    Raises:
        UserError: it holds no scores of these weights, or a package for statistics is missing.
    """
    try:
        from lnln_dist.report.models import models_of
        from lnln_dist.report.read import read
        from lnln_dist.report.seeds import RANDOM, condition_name, over_seeds
    except ImportError as err:
        raise UserError(
            f"--results needs {str(err.name).split('.')[0]}: {install('report')}"
        ) from err
    for run in read([results]):
        kept = [
            name
            for name, note in run.record["checkpoints"].items()
            if note.get("weights_sha256") == weights_sha256
        ]
        if not kept:
            continue
        rows = run.metrics[run.metrics["checkpoint"].isin(kept)]
        rows = rows[rows.groupby("metric")["value"].transform("count") > 0]  # defined at all
        scores = []
        for metric in dict.fromkeys(rows["metric"]):
            (model,) = models_of([run], metric)
            mean = model.mean
            scores.append(Score(metric, mean.value, mean.low, mean.high, model.floor))
        table = over_seeds(rows)
        random = table.index.get_level_values("pattern") == RANDOM
        table = table[random] if random.any() else table
        table.index = pd.Index([condition_name(*cell) for cell in table.index])
        return Scores(
            dataset=run.record["dataset"],
            data_hash=run.record["data_hash"],
            split=run.record["split"],
            samples=int(run.record["samples"]),
            protocol=run.protocol,
            selected_on=run.selected_on,
            noise_seeds=rows["noise_seed"].nunique(),
            command=_command(results),
            scores=scores,
            by_condition=table,
            alarms=[line.removeprefix(f"{run.name}: ") for line in run.alarms],
        )
    raise UserError(
        f"--results {results}: no run there has the weights that are exported: evaluate this run "
        "and checkpoint anew"
    )


def _command(results: Path) -> str:
    """What made an evaluation; where runs and data lay is nobody else's business."""
    summary = json.loads((results / SUMMARY).read_text(encoding="utf-8"))
    return command({**summary, "runs": [{"folder": "RUN", "data": "DATA"}]})


def model_card(run: Run, note: Mapping[str, Any], scores: Scores | None) -> str:
    """The text of README.md: metadata that the Hugging Face hub reads, then what a reader does.

    Args:
        run: whose model it is.
        note: what is known of the checkpoint.
        scores: of the same weights; None: none are given.
    """
    name = f"{run.config.model.name}-{run.info.dataset}"
    data = ModelCardData(
        library_name="lnln_dist",
        tags=[TASK, "missing-modality", run.config.model.name],
        model_name=name,
        eval_results=_results(scores) if scores else None,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---\n",
        f"# {name}\n",
        _what(run),
        _use(run),
        _training(run, note),
        _scores(scores) if scores else "## Scores\nNone were given when it was exported.\n",
    ]
    return "\n".join(parts)


def eval_results(scores: Scores) -> list[EvalResultEntry]:
    """The scores as entries of the hub's ``.eval_results/NAME.yaml``."""
    about = f"{scores.terms}; {scores.samples} samples, data {scores.data_hash[:12]}"
    return [
        EvalResultEntry(
            dataset_id=scores.dataset,
            task_id=score.metric,
            value=round(score.value, 6),
            notes=f"{about}; 95 % interval {score.low:.4f} to {score.high:.4f}",
        )
        for score in scores.scores
    ]


def _results(scores: Scores) -> list[EvalResult]:
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=scores.dataset,
            dataset_name=scores.dataset,
            dataset_split=scores.split,
            metric_type=score.metric,
            metric_value=round(score.value, 6),
            metric_name=f"{score.metric} ({scores.terms})",
        )
        for score in scores.scores
    ]


def _what(run: Run) -> str:
    name = run.config.model.name
    builder = find_spec(name).builder()
    head = (sys.modules[builder.__module__].__doc__ or name).strip().splitlines()[0]
    low, high = run.info.label_range
    lines = [
        f"{head}\n",
        "Predicts the sentiment of a spoken sentence from text, audio and vision, any of which may "
        f"be missing in part or wholly: a number in [{low:g}, {high:g}].\n",
    ]
    if is_own(name):
        lines.append(
            f"**The network is not part of this folder:** it is `{name}`, a module of its author's "
            "own, which has to be on `PYTHONPATH` where the model is loaded.\n"
        )
    return "\n".join(lines)


def _use(run: Run) -> str:
    shapes = run.info.shapes
    return f"""## Use
```python
import lnln_dist
model = lnln_dist.load("this/folder")
model.predict(text="I really liked it", audio=audio, vision=vision)
```
`audio` is [frames, {shapes.audio_width}], at most {shapes.audio_length} frames; `vision` is
[frames, {shapes.vision_width}], at most {shapes.vision_length}; text has at most
{shapes.text_length} tokens. The features have to be extracted as those of the training data. Any
of the three may be left out.
"""


def _training(run: Run, note: Mapping[str, Any]) -> str:
    info, config = run.info, run.config
    kind = " (**synthetic**: made up, nobody's speech)" if info.dataset == SYNTHETIC else ""
    chosen = {key: note[key] for key in ("selected_on", "metric", "score", "epoch") if key in note}
    lines = {
        "data set": f"{info.dataset}{kind}, data {(info.data_hash or 'not known')[:12]}",
        "recipe": config.recipe,
        "text encoder": Path(config.model.encoder.name).name,
        "seed": "not known" if info.origin == "imported" else config.train.seed,
        "checkpoint": ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in chosen.items()
        ),
        "parameters": f"{info.parameters:,}",
        "settings": f"config.json, hash {info.config_hash}",
        "trained by": f"lnln_dist {info.lnln_dist}, commit {info.git_commit or 'not known'}",
    }
    return "## Training\n" + "".join(f"- {what}: {value}\n" for what, value in lines.items())


def _scores(scores: Scores) -> str:
    rows = "".join(
        f"| {s.metric} | {s.value:.4f} | {s.low:.4f} to {s.high:.4f} | {_number(s.constant)} |\n"
        for s in scores.scores
    )
    names = [str(name) for name in scores.by_condition]
    by_condition = "".join(
        f"| {name} | {' | '.join(map(_number, values))} |\n"
        for name, *values in scores.by_condition.itertuples()
    )
    alarms = "".join(f"- **{line}**\n" for line in scores.alarms)
    alarms = alarms and f"The evaluation raised alarms:\n{alarms}\n"
    return f"""## Scores
On {scores.dataset} ({scores.samples} samples, data {scores.data_hash[:12]}): {scores.terms}. The \
interval is over samples and noise seeds; another training would differ by more.

{alarms}| score | mean | 95 % interval | best constant |
|---|---|---|---|
{rows}
| condition | {" | ".join(names)} |
|---|{"---|" * len(names)}
{by_condition}
Made by `{scores.command}`.
"""


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
