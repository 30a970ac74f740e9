"""TensorBoard's HPARAMS page of a whole sweep: all axes, and how each trial ended; no torch.

A trial's own events have its settings. What only the sweep knows is written beside them: the
columns of all trials together (in ``trials/``), and each trial's status and final scores, which
are those of its best epoch.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lnln_dist import settings
from lnln_dist.sweep.results import Results

COLUMNS, SUCCESS, FAILURE = "columns", "success", "failure"  # how the names of our files end


def write(results: Results) -> None:
    """Brings the page up to date with a sweep's results."""
    names: dict[str, None] = {results.metric: None}
    passed_over = results.passed_over
    for made, seed, record in results.trials:
        trial = made.trial(seed)
        run = results.folder.trial(trial) / "events"
        scores: dict[Any, float] = {}
        if record.epochs:
            names |= dict.fromkeys(record.epochs[0].scores)
            scores = results.kept.loc[trial, list(record.epochs[0].scores)].to_dict()
        through = record.epochs and (record.finished or made.name in passed_over)
        status = FAILURE if record.failure is not None else SUCCESS if through else ""
        old = _clear(run, keep=status)
        if status and not old and run.is_dir():
            _write(run, status, _end(status, scores))
    _clear(results.folder.trials, keep="")
    if results.records:
        _write(results.folder.trials, COLUMNS, [_columns(results, names)])


def _clear(folder: Path, *, keep: str) -> bool:
    """Removes what was written before; tells whether there is one of the kind that stays."""
    kept = False
    for kind in (COLUMNS, SUCCESS, FAILURE):
        for path in folder.glob(f"events.out.tfevents.*.{kind}"):
            if kind == keep:
                kept = True
            else:
                path.unlink()
    return kept


def _write(folder: Path, kind: str, summaries: Iterable[Any]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder), filename_suffix=f".{kind}")
    for summary in summaries:
        writer.add_event(Event(wall_time=time.time(), step=0, summary=summary))
    writer.close()


def _plugin(tag: str, **content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    about = metadata.create_summary_metadata(HParamsPluginData(**content))
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def _end(status: str, scores: Mapping[str, float]) -> list[Any]:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo

    code = api_pb2.STATUS_SUCCESS if status == SUCCESS else api_pb2.STATUS_FAILURE
    info = SessionEndInfo(status=code, end_time_secs=time.time())
    values = [Summary.Value(tag=f"final/{n}", simple_value=v) for n, v in scores.items()]
    return [_plugin("_hparams_/session_end_info", session_end_info=info), Summary(value=values)]


def _columns(results: Results, scores: Iterable[str]) -> Any:
    from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName

    swept = results.space.swept
    keys = [*swept, *(k for k in settings.flatten(results.space.shared) if k not in swept)]
    plain = settings.flatten(settings.to_dict(results.space.common))
    types = {bool: 2, float: 3, int: 3}  # of DataType; anything else is text
    infos = [
        HParamInfo(name=key, type=types.get(type(plain[key]), 1), differs=key in swept)
        for key in keys
        if key in plain
    ]
    metrics = [MetricInfo(name=MetricName(tag=f"final/{name}")) for name in scores]
    return _plugin(
        "_hparams_/experiment", experiment=Experiment(hparam_infos=infos, metric_infos=metrics)
    )
