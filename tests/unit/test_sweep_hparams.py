"""The HPARAMS page of a sweep, as TensorBoard reads it."""

from pathlib import Path
from typing import Any

import pytest
from sweep_standin import SWEEP, breaking, drive, make_study, swept
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lnln_dist.errors import TrainingError
from lnln_dist.sweep import hparams
from lnln_dist.sweep.results import Results

BEST = "adversarial0.4_reconstruction0.1"


def program(config: Any, folder: Path, **more: Any) -> Any:
    (folder / "events").mkdir(parents=True, exist_ok=True)
    error = TrainingError("loss not finite")
    return breaking(error, lambda c, _: c.loss.adversarial == 0.8)(config, folder, **more)


def read(folder: Path) -> tuple[dict[str, HParamsPluginData], dict[str, float]]:
    """What a folder's events say to the hparams plugin, and its scalars."""
    found = EventAccumulator(str(folder)).Reload()
    content = found.summary_metadata
    plugin = {
        tag: HParamsPluginData.FromString(meta.plugin_data.content)
        for tag, meta in content.items()
        if meta.plugin_data.plugin_name == "hparams"
    }
    return plugin, {tag: found.Scalars(tag)[-1].value for tag in found.Tags()["scalars"]}


def status(folder: Path) -> int | None:
    plugin, _ = read(folder / "events")
    end = plugin.get("_hparams_/session_end_info")
    return None if end is None else end.session_end_info.status


def test_each_trial_has_its_status_and_final_scores(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    drive(study, stop_after=2, run=program)
    hparams.write(Results(tmp_path))
    held = [study.name(key) for key, record in study.records.items() if record.epochs]
    assert {status(study.folder.trial(name)) for name in held} == {None}
    drive(study, run=program)
    for _ in range(2):  # again and again, while the sweep runs
        hparams.write(Results(tmp_path))
    for key, record in study.records.items():
        if not record.epochs and record.failure is None:
            continue
        run = study.folder.trial(study.name(key))
        failed = record.failure is not None
        assert status(run) == (api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS)
        assert len(list((run / "events").iterdir())) == 1
    _, scalars = read(study.folder.trial(f"{BEST}_s3") / "events")
    best = min(row.scores["mae"] for row in study.records[BEST, 3].epochs)
    assert scalars == pytest.approx({"final/mae": best, "final/corr": 0.5})


def test_all_axes_are_columns_those_of_later_trials_too(tmp_path: Path) -> None:
    hparams.write(swept(tmp_path, run=program))
    axes = {**SWEEP["axes"], "optim.lr": {"grid": [1e-4, 1e-3]}}
    hparams.write(swept(tmp_path, {**SWEEP, "axes": axes}, run=program))
    plugin, _ = read(tmp_path / "trials")
    experiment = plugin["_hparams_/experiment"].experiment
    first = {info.name for info in experiment.hparam_infos if info.differs}
    assert first == {"loss.adversarial", "loss.reconstruction", "optim.lr", "train.seed"}
    assert [info.name.tag for info in experiment.metric_infos] == ["final/mae", "final/corr"]


def test_a_trial_that_goes_on_after_all_has_no_status_meanwhile(tmp_path: Path) -> None:
    hparams.write(swept(tmp_path, run=program))
    more = make_study(tmp_path, {**SWEEP, "confirm": {"best": 2}})
    chosen = [n for n, v in more.plan.verdicts.items() if v.chosen and n != BEST]
    hparams.write(Results(tmp_path))
    assert status(more.folder.trial(f"{chosen[0]}_s1")) is None
