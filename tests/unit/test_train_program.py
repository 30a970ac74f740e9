"""The training program, called from Python."""

import io
import json
import os
import pickle
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_runs
import torch
from networks import SMALL
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from transformers import MPNetConfig, MPNetModel

from lnln_dist import settings
from lnln_dist.classes import class_values, cut, decide
from lnln_dist.config import Config
from lnln_dist.data.convert import prepare
from lnln_dist.data.loader import Standardiser
from lnln_dist.data.schema import FRAMES
from lnln_dist.data.shards import open_dataset
from lnln_dist.errors import CheckpointError, PreemptedError, TrainingError, UserError
from lnln_dist.evaluate import predict
from lnln_dist.evaluate.load import load_model
from lnln_dist.evaluate.robust import evaluate_runs
from lnln_dist.evaluate.single import predict_file
from lnln_dist.evaluate.table import show
from lnln_dist.files import LOCK, held
from lnln_dist.report.comparison import compare
from lnln_dist.runs import Run
from lnln_dist.runtime import Runtime
from lnln_dist.share.model import load
from lnln_dist.specs.registry import MODELS, make_config
from lnln_dist.sweep.records import NOTE, Note, Record
from lnln_dist.sweep.trial import TrialFailedError, clear_torn_start, failing_for_good
from lnln_dist.train import checkpoint, claim, loop, setup
from lnln_dist.train.leaving import Notice
from lnln_dist.train.loop import EpochReport
from lnln_dist.train.program import Result, run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shards"
    tiny_runs.write_data(folder)
    return folder


def config(data: Path, name: str = "lnln") -> Config:
    """A tiny run; other models than LNLN with dropout, as they have it."""
    given = settings.to_dict(make_config(model=tiny_runs.MODEL))
    if name != "lnln":
        given["model"] = {"name": name, "encoder": given["model"]["encoder"], **SMALL[name]}
        del given["loss"]
    plain = settings.to_dict(settings.build(given))
    plain["data"]["path"] = str(data)
    plain["train"] |= {"epochs": 3, "batch_size": 4}
    plain["select"]["rates"] = [0.5]
    return settings.build(plain)


@pytest.mark.parametrize("name", MODELS)
def test_paused_and_resumed_equals_undisturbed(
    data: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[EpochReport] = []
    whole = run(config(data, name), tmp_path / "whole", cpu=True, on_epoch=lambda r: told.append(r))
    assert whole.state.finished
    assert [report.epoch for report in told] == [1, 2, 3]

    again: list[EpochReport] = []

    def pause(report: EpochReport) -> bool:
        again.append(report)
        return report.epoch == 2

    first = run(config(data, name), tmp_path / "cut", cpu=True, on_epoch=pause)
    assert not first.state.finished
    assert first.state.step == told[1].step
    assert "going on" not in capsys.readouterr().err
    second = run(config(data, name), tmp_path / "cut", cpu=True, resume=True, on_epoch=again.append)
    assert second.state.finished
    assert f"going on after step {told[1].step}, epoch 2 of 3\n" in capsys.readouterr().err
    assert again == told
    one, other = (load_file(tmp_path / n / "best" / "best.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert second.state.best == whole.state.best


def alternating(data: Path, **train: object) -> Config:
    """Three steps in each of the two passes of an epoch."""
    own = {"order": "alternating", "epochs": 2, "checkpoint_steps": 3, "log_steps": 3}
    change = {"train": {**own, **train}}
    return settings.build(settings.merge(settings.to_dict(config(data)), change))


def tensors(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """Weights and optimizer slots of a checkpoint."""
    files = [folder / f"checkpoints/step-{step:08d}" / name for name in checkpoint.FILES]
    return load_file(files[0]) | load_file(files[1])


def test_each_pass_trains_its_own_part(data: Path, tmp_path: Path) -> None:
    run(alternating(data, keep_checkpoints=9), tmp_path / "run", cpu=True)
    at = {step: tensors(tmp_path / "run", step) for step in (3, 6, 9, 12)}

    def changed(before: int, after: int) -> set[str]:
        names = {n for n in at[before] if n.startswith("model.")}
        moved = {n for n in names if not torch.equal(at[before][n], at[after][n])}
        return {n.removeprefix("model.").split(".")[0] for n in moved}

    rest = {name.split(".")[1] for name in at[3] if name.startswith("model.")} - {"completeness"}
    assert changed(3, 6) == changed(9, 12) == rest
    assert changed(6, 9) == {"completeness", "embed", "text_encoder"}
    own = {name for name in at[12] if "embed.text.project.weight" in name and "exp_avg." in name}
    assert own == {f"{m}exp_avg.model.embed.text.project.weight" for m in ("", "1/")}
    assert not any(name.startswith("1/") and "completeness." in name for name in at[12])
    log = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    trained = [line for line in log if line["kind"] == "train"]
    totals = [{key for key in line if key.startswith("loss_weighted/")} for line in trained]
    assert totals[0] == {"loss_weighted/completeness"}
    assert totals[-1] == {
        f"loss_weighted/{n}" for n in ("adversarial", "reconstruction", "sentiment")
    }


def cut_and_resumed(
    given: Config, folder: Path, cut: int, monkeypatch: pytest.MonkeyPatch, **changed: int
) -> Result:
    """A run that leaves after step ``cut`` and goes on, its loader perhaps changed."""
    notice, step = Notice(), loop.train_step

    def leaving(training: loop.Training, *rest: Any) -> Any:
        if training.state.step == cut - 1:
            notice.give()
        return step(training, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", leaving)
        with pytest.raises(PreemptedError, match=f"step {cut} written"):
            run(given, folder, cpu=True, notice=notice)
    after = settings.build(settings.merge(settings.to_dict(given), {"data": changed}))
    return run(after, folder, cpu=True, resume=True)


@pytest.mark.parametrize("cut", [2, 4, 6, 8])
def test_an_alternating_run_goes_on_exactly_in_either_pass(
    data: Path, tmp_path: Path, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = alternating(data, checkpoint_steps=0)
    run(given, tmp_path / "whole", cpu=True)
    assert cut_and_resumed(given, tmp_path / "cut", cut, monkeypatch).state.finished
    one, other = (tensors(tmp_path / name, 12) for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_what_a_network_remembers_goes_on_exactly_and_stays_at_home(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(data, "self_mm")
    whole = run(given, tmp_path / "whole", cpu=True)
    cut_and_resumed(given, tmp_path / "cut", 5, monkeypatch, workers=1)
    one, other = (tensors(tmp_path / name, 9) for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    split = open_dataset(data).split("train")
    assert one["model.memory.label_R"].tolist() == pytest.approx(split.labels.tolist())
    assert (one["model.memory.visits_R"] == 3).all()
    assert one["model.memory.offset_RM"].abs().amax(dim=0).min() > 0
    kept = load_file(tmp_path / "whole" / "best" / "best.safetensors")
    assert kept.keys() == {
        name.removeprefix("model.")
        for name in one
        if name.startswith("model.") and not name.startswith("model.memory.")
    }
    network, note = load_model(Run(tmp_path / "whole"))
    assert network.memory is None
    assert note["score"] == whole.state.best["best"]


def test_an_alternating_order_is_refused_where_it_cannot_be(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = settings.to_dict(alternating(data))
    text = {"name": "text", "encoder": plain["model"]["encoder"], **SMALL["text"]}
    wrong = {
        "order alternating works with strategy ddp, not zero2": {"train": {"strategy": "zero2"}},
        "auto_micro_batch does not count": {"train": {"auto_micro_batch": True}},
        "pass check trains nothing: give loss.completeness": {"loss": {"completeness": 0.0}},
        "model text has one pass only, alternating is for lnln": {"model": text, "loss": {}},
        "recipe official: .*train.order is 'alternating', not 'joint'": {"recipe": "official"},
    }
    for message, change in wrong.items():
        below = {k: v for k, v in plain.items() if k not in change or k == "train"}
        below = below if "loss" in change and "model" in change else plain
        with pytest.raises(UserError, match=message) as caught:
            run(settings.build(settings.merge(below, change)), tmp_path / "run", cpu=True)
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    with pytest.raises(TrainingError, match="alternating works with strategy ddp, not fsdp2"):
        run(settings.build(plain), tmp_path / "run", cpu=True)


@pytest.mark.parametrize("name", ["lnln", "text"])
def test_an_idle_completeness_check_is_told_at_the_end(
    data: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"select": {"rates": [0.0, 0.5]}, "train": {"epochs": 2}}
    given = settings.build(settings.merge(settings.to_dict(config(data, name)), change))
    run(given, tmp_path / "run", cpu=True)
    idle = "predicted completeness does not follow the missing rate"
    told = [idle in line for line in capsys.readouterr().err.splitlines()]
    log = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    slopes = [line["completeness/slope"] for line in log if "completeness/slope" in line]
    if name == "text":  # predicts none
        assert not slopes and not any(told)
    else:
        assert len(slopes) == 2 and abs(slopes[-1]) < 0.1
        assert told.count(True) == 1 and told[-1]


@pytest.mark.parametrize(("kind", "count"), [("three-class", 3), ("seven-class", 7)])
def test_classes_from_training_to_comparison(
    data: Path, tmp_path: Path, kind: str, count: int
) -> None:
    plain = settings.to_dict(config(data, "text"))
    plain["task"] = {"kind": kind, "class_weights": "balanced"}
    plain["select"] |= {"metric": f"f1_macro{count}", "rates": [0.0, 0.5]}
    result = run(settings.build(plain), tmp_path / "run", cpu=True)
    opened = Run(tmp_path / "run")
    _, note = opened.load_best()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    scores = [line for line in lines if "valid/threshold/0" in str(line)]
    assert len(scores) == 3
    assert sum(note["thresholds"]) == pytest.approx(1)
    assert note["score"] == result.state.best["best"]

    where, runtime = tmp_path / "results", Runtime(cpu=True)
    found = evaluate_runs([tmp_path / "run"], output=where, runtime=runtime, rates=[0.0, 0.5])
    show(found.metrics, found.summary, file=io.StringIO())
    (record,) = found.summary["runs"]
    assert record["task"] == kind
    assert record["checkpoints"]["best"].items() >= note.items()
    table = pd.read_parquet(where / "predictions.parquet")
    values = class_values("mosi", count)
    probability_NC = table[[f"p_{value:g}" for value in values]].to_numpy()
    assert probability_NC.sum(axis=1) == pytest.approx(1)
    assert (table.prediction == values[decide(probability_NC, note["thresholds"])]).all()
    known = {f"{score}{n}" for score in ("acc", "f1_macro") for n in (7, 5, 3) if n <= count}
    assert set(found.metrics.metric) == known
    clean = table[(table.rate == 0) & (table.noise_seed == 1)]
    right = (cut(clean.prediction, "mosi", count) == cut(clean.label, "mosi", count)).mean()
    row = found.metrics.query(f"metric == 'acc{count}' and rate_text == 0 and noise_seed == 1")
    assert row.value.item() == pytest.approx(right)

    predict_file(tmp_path / "run", data, output=tmp_path / "p.csv", runtime=runtime)
    written = pd.read_csv(tmp_path / "p.csv")
    assert list(written.columns[:4]) == ["id", "label", "prediction", f"p_{values[0]:g}"]
    assert written.prediction.tolist() == clean.prediction.tolist()

    compared = compare([where], f"f1_macro{count}").models
    assert compared["mean"].item() == pytest.approx(
        found.metrics.query(f"metric == 'f1_macro{count}' and model == 'text'").value.mean()
    )
    with pytest.raises(UserError, match=f"--metric mae: choose one of acc{count}"):
        compare([where], "mae")


def test_a_run_says_where_it_trains(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(data), tmp_path / "run", cpu=True, on_epoch=lambda _: True)
    assert capsys.readouterr().err.splitlines()[0] == "1 process on cpu: ddp in fp32"


def test_a_run_says_once_that_its_encoder_has_no_fused_attention(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = open_dataset(data).index.tokenizer
    sizes = {"vocab_size": tokenizer.vocab_size, "hidden_size": 8, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 16}
    encoder = MPNetModel(MPNetConfig(**sizes, pad_token_id=tokenizer.pad_id))
    encoder.save_pretrained(tmp_path / "mpnet")
    change = {"model": {"encoder": {"name": str(tmp_path / "mpnet")}}, "train": {"epochs": 1}}
    run(
        settings.build(settings.merge(settings.to_dict(config(data)), change)),
        tmp_path / "run",
        cpu=True,
    )
    assert capsys.readouterr().err.count("no fused attention") == 1


def test_told_to_leave_before_it_began_a_run_does_nothing(data: Path, tmp_path: Path) -> None:
    notice = Notice()
    notice.give()
    with pytest.raises(PreemptedError, match="before the first step"):
        run(config(data), tmp_path / "run", cpu=True, notice=notice)
    assert not (tmp_path / "run").exists()


def test_utilisation_is_reported_where_the_peak_is_known(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "_peak", lambda runtime: 1e12)
    run(config(data), tmp_path / "known", cpu=True)
    lines = [json.loads(x) for x in (tmp_path / "known" / "log.jsonl").read_text().splitlines()]
    shares = [line["speed/mfu"] for line in lines if "speed/mfu" in line]
    assert shares
    assert all(0 < share < 1 for share in shares)


def shown_first(run_folder: Path) -> set[str]:
    read = EventAccumulator(str(run_folder / "events")).Reload()
    content = read.SummaryMetadata("_hparams_/experiment").plugin_data.content
    infos = HParamsPluginData.FromString(content).experiment.hparam_infos
    return {info.name for info in infos if info.differs}


def test_tensorboard_shows_the_settings_that_matter_first(data: Path, tmp_path: Path) -> None:
    short = settings.build(settings.merge(settings.to_dict(config(data)), {"train": {"epochs": 1}}))
    run(short, tmp_path / "told", cpu=True, shown_first=["loss.adversarial"])
    assert shown_first(tmp_path / "told") == {"loss.adversarial"}
    run(short, tmp_path / "alone", cpu=True)
    found = shown_first(tmp_path / "alone")
    assert {"train.batch_size", "train.epochs", "train.seed", "model.width"} <= found
    assert "loss.adversarial" not in found


@pytest.mark.parametrize("finished", [True, False])
def test_best_weights_that_are_gone_are_missed(data: Path, tmp_path: Path, finished: bool) -> None:
    def pause(report: EpochReport) -> bool:
        return not finished

    run(config(data), tmp_path / "run", cpu=True, on_epoch=pause)
    (tmp_path / "run" / "best" / "best.safetensors").unlink()
    with pytest.raises(CheckpointError, match="its best weights are gone"):
        run(config(data), tmp_path / "run", cpu=True, resume=True)


def test_a_run_that_is_being_trained_is_left_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "WAIT_S", 0.1)
    refused: list[str] = []

    def start_another(report: EpochReport) -> None:
        for more in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(UserError, match="is being trained by another process") as caught:
                claim.claim(
                    tmp_path / "run",
                    config(data),
                    open_dataset(str(data)).index,
                    **{"resume": False, "overwrite": False, "hold": ExitStack(), **more},
                )
            refused.append(str(caught.value))

    run(config(data), tmp_path / "run", cpu=True, on_epoch=start_another)
    assert len(refused) == 6
    # The folder is free again.
    assert run(config(data), tmp_path / "run", resume=True, cpu=True).state.finished


def test_a_step_that_runs_out_of_memory_is_told_and_marks_a_trial(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(TrainingError, match=r"rank 0 on .*out of memory: set train\.auto_micro"):
        run(config(data), tmp_path / "alone", cpu=True)
    with (
        pytest.raises(TrialFailedError, match=r"^out of memory: "),
        failing_for_good(tmp_path / "t"),
    ):
        run(config(data), tmp_path / "t", cpu=True)


def logged(folder: Path) -> list[dict[str, object]]:
    """Lines of the log without what depends on the machine."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timed = ("time", "ranks", "speed/", "memory/")
    return [{k: v for k, v in line.items() if not k.startswith(timed)} for line in lines]


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(grid_config(data), tmp_path_factory.mktemp("runs") / "whole", cpu=True)


def grid_config(data: Path) -> Config:
    plain = settings.to_dict(config(data))
    plain["select"] |= {"rates": [0.1, 0.5, 0.9], "batch_size": 2}
    return settings.build(plain)


# Three batches an epoch under three rates: in the 1st batch of epoch 2, the 2nd and the last of 3.
@pytest.mark.parametrize(
    ("told", "made", "epoch", "due"), [(11, 12, 2, True), (22, 24, 3, True), (27, 27, 3, False)]
)
def test_told_to_leave_while_scoring_it_leaves_after_that_batch(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Result,
    told: int,
    made: int,
    epoch: int,
    due: bool,
) -> None:
    scored = []
    under = predict.under

    def tell(*given: Any, **more: Any) -> Any:
        scored.append(1)
        if len(scored) == told:
            os.kill(os.getpid(), signal.SIGTERM)
        return under(*given, **more)

    given, folder = grid_config(data), tmp_path / "cut"
    monkeypatch.setattr(predict, "under", tell)
    step = undisturbed.state.step // 3 * epoch
    if due:
        with pytest.raises(PreemptedError, match=f"checkpoint of step {step} written"):
            run(given, folder, cpu=True)
        assert checkpoint.load(checkpoint.checkpoints(folder)[-1])[0].validation_due
    else:  # nothing was left to do
        run(given, folder, cpu=True)
    assert len(scored) == made
    monkeypatch.undo()
    again = run(given, folder, cpu=True, resume=True)
    assert again.state.finished
    assert not again.state.validation_due
    assert again.state.best == undisturbed.state.best
    assert again.state.best_epoch == undisturbed.state.best_epoch
    assert logged(folder) == logged(undisturbed.folder)
    for name in ("best/best.safetensors", f"checkpoints/step-{step:08d}/model.safetensors"):
        one, other = load_file(folder / name), load_file(undisturbed.folder / name)
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_told_to_leave_in_the_last_cell_it_makes_no_further_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = loop.save_best

    def tell(*given: Any, **more: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        keep(*given, **more)

    monkeypatch.setattr(loop, "save_best", tell)
    with pytest.raises(PreemptedError):
        run(config(data), tmp_path / "run", cpu=True)
    steps = [line["step"] for line in logged(tmp_path / "run")]
    [newest] = checkpoint.checkpoints(tmp_path / "run")
    state, _ = checkpoint.load(newest)
    assert not state.validation_due
    assert state.step == steps[-1] == 3


def test_a_run_that_is_told_to_leave_keeps_its_trace(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, given = loop._checkpoint, settings.to_dict(config(data))
    given["train"] |= {"checkpoint_steps": 1, "profile_steps": [0, 100]}

    def tell(training: loop.Training) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        save(training)

    monkeypatch.setattr(loop, "_checkpoint", tell)
    with pytest.raises(PreemptedError, match="step 2 written"):
        run(settings.build(given), tmp_path / "run", cpu=True)
    [trace] = (tmp_path / "run" / "profile").iterdir()
    assert trace.name == "steps-0-2-rank-0.pt.trace.json"


def test_an_undefined_score_is_no_gain_and_the_end_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiny_runs.write_pickle(tmp_path / "constant.pkl")
    content = pickle.loads(source.read_bytes())
    content["valid"]["regression_labels"][:] = 1.0  # no correlation with a constant
    source.write_bytes(pickle.dumps(content))
    prepare(source, tmp_path / "data", dataset="mosi", tokenizer="corpus")
    plain = settings.to_dict(config(tmp_path / "data"))
    plain["select"]["metric"] = "corr"
    plain["train"] |= {"epochs": 9, "patience": 2}
    told: list[EpochReport] = []
    found = run(settings.build(plain), tmp_path / "run", cpu=True, on_epoch=told.append)
    assert found.state.finished
    assert [report.improved for report in told] == [True, False, False]
    assert found.state.best_epoch["best"] == 1
    assert (tmp_path / "run" / "best" / "best.safetensors").is_file()
    shown = capsys.readouterr()
    *_, stopped, undefined = (shown.out + shown.err).strip().splitlines()
    assert "stopped early" in stopped
    assert "corr was not defined on valid in any epoch" in undefined


def test_a_defined_score_beats_an_undefined_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([float("nan"), 9.0, float("nan")])
    real = setup.validate

    def scripted(*given: Any, **more: Any) -> Any:
        found = real(*given, **more)
        return found._replace(mean={**found.mean, "mae": next(scores)})

    monkeypatch.setattr(setup, "validate", scripted)
    told: list[EpochReport] = []
    found = run(config(data), tmp_path / "run", cpu=True, on_epoch=told.append)
    assert [report.improved for report in told] == [True, True, False]
    assert (found.state.best["best"], found.state.best_epoch["best"]) == (9.0, 2)


def test_what_is_told_is_committed_and_a_lent_folder_is_free_meanwhile(
    data: Path, tmp_path: Path
) -> None:
    folder, steps = tmp_path / "run", []

    def listen(report: EpochReport) -> bool:
        newest = checkpoint.checkpoints(folder)[-1]
        state, _ = checkpoint.load(newest)
        steps.append((state.step, state.finished))
        assert state.step == report.step
        with held(folder, wait_s=0):
            return False

    run(config(data), folder, cpu=True, on_epoch=listen, lends=True)
    assert [finished for _, finished in steps] == [False, False, True]
    with pytest.raises(SystemExit):  # how Ray Tune ends a trial that it pauses
        run(config(data), tmp_path / "cut", cpu=True, on_epoch=lambda _: sys.exit(0), lends=True)
    assert checkpoint.load(checkpoint.checkpoints(tmp_path / "cut")[-1])[0].step == steps[0][0]


def test_a_run_notes_how_its_labels_were_rescaled(tmp_path: Path) -> None:
    source, folder = tiny_runs.write_pickle(tmp_path / "own.pkl"), tmp_path / "own"
    own = {"dataset": "own", "family": "mosi", "label_range": (-4, 4), "rescale_labels": True}
    prepare(source, folder, tokenizer="corpus", **own)
    run(config(folder), tmp_path / "run", cpu=True, on_epoch=lambda _: True)
    info = Run(tmp_path / "run").info
    assert (info.label_range, info.rescaled_from) == ((-3, 3), (-4, 4))


def test_a_finished_run_is_lengthened_where_its_schedule_permits(
    data: Path, tmp_path: Path
) -> None:
    def of(epochs: int, **optim: object) -> Config:
        plain = settings.to_dict(config(data))
        plain["train"]["epochs"] = epochs
        plain["optim"] |= optim
        return settings.build(plain)

    steady = {"schedule": "constant", "warmup_share": 0.0}
    whole = run(of(3, **steady), tmp_path / "whole", cpu=True)
    assert run(of(2, **steady), tmp_path / "run", cpu=True).state.finished
    longer = run(of(3, **steady), tmp_path / "run", cpu=True, resume=True)
    assert longer.state.finished
    assert longer.state.best == whole.state.best
    assert logged(tmp_path / "run") == logged(tmp_path / "whole")
    with pytest.raises(CheckpointError, match=r"train.epochs: 3 there, 2 here"):
        run(of(2, **steady), tmp_path / "run", cpu=True, resume=True)
    run(of(2), tmp_path / "cosine", cpu=True)
    with pytest.raises(CheckpointError, match="only a constant schedule without warm-up"):
        run(of(3), tmp_path / "cosine", cpu=True, resume=True)


def test_a_trial_that_starts_anew_beside_its_sweeps_note_is_no_stranger(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run(config(data), folder, cpu=True)
    Record(note=Note(losses=1)).save(folder)
    # Its checkpoints were given up: nothing but the note stays.
    shutil.rmtree(folder / "checkpoints")
    clear_torn_start(folder)
    assert {path.name for path in folder.iterdir()} == {LOCK, NOTE}
    assert run(config(data), folder, cpu=True, resume=True).state.finished
    assert (folder / NOTE).exists()
    run(config(data), folder, cpu=True, overwrite=True)


def test_frames_are_normalised_as_in_training_wherever_the_run_predicts(
    data: Path, tmp_path: Path
) -> None:
    plain = settings.to_dict(config(data))
    plain["recipe"] = "custom"
    plain["data"]["normalise"], plain["select"]["rates"] = True, [0.0]
    made = run(settings.build(plain), tmp_path / "run", cpu=True)
    index = open_dataset(data).index
    info = Run(tmp_path / "run").info
    assert info.normalised == index.scales
    # The same network, told nothing of it, on data that were normalised by hand.
    content = pickle.loads(data.with_suffix(".pkl").read_bytes())
    for split in content.values():
        for m in FRAMES:
            split[m] = np.stack([Standardiser(index.scales[m])(x) for x in split[m]])
    (tmp_path / "by_hand.pkl").write_bytes(pickle.dumps(content))
    by_hand = shutil.copytree(tmp_path / "run", tmp_path / "unaware")
    note = json.loads((by_hand / "run.json").read_text())
    (by_hand / "run.json").write_text(json.dumps({**note, "normalised": None}))
    here = {"runtime": Runtime(cpu=True), "split": "valid"}
    tables = [
        predict_file(folder, source, output=tmp_path / f"{k}.csv", **here).table
        for k, (folder, source) in enumerate(
            [
                (tmp_path / "run", data),
                (tmp_path / "run", data.with_suffix(".pkl")),
                (by_hand, tmp_path / "by_hand.pkl"),
                (by_hand, data),
            ]
        )
    ]
    for other in tables[1:3]:
        np.testing.assert_allclose(tables[0].prediction, other.prediction, rtol=1e-4, atol=1e-5)
    assert not np.allclose(tables[0].prediction, tables[3].prediction, rtol=1e-3)
    # Validation in training saw what prediction sees.
    mae = float(np.abs(tables[0].prediction - tables[0].label).mean())
    assert made.state.best["best"] == pytest.approx(mae, rel=1e-4)
    with pytest.raises(UserError, match="a graph does not normalise its frames"):
        load(tmp_path / "run", cpu=True).save_pretrained(tmp_path / "out", graphs=["model.pt2"])


@pytest.mark.parametrize("name", ["lnln", "prmf", "tfr_net"])
def test_data_with_gaps_are_trained_on_by_any_number_of_workers(tmp_path: Path, name: str) -> None:
    content = pickle.loads(tiny_runs.write_pickle(tmp_path / "gaps.pkl").read_bytes())
    for split in content.values():
        split["audio"][0, 2:5] = np.nan
        split["vision"][1] = 0  # no face at all
        split["raw_text"][2] = ""
    (tmp_path / "gaps.pkl").write_bytes(pickle.dumps(content))
    index = prepare(tmp_path / "gaps.pkl", tmp_path / "gaps", dataset="mosi", tokenizer="corpus")
    assert index.splits["train"].seen == ("text", "audio", "vision")
    found = []
    for workers in (0, 1):
        plain = settings.to_dict(config(tmp_path / "gaps", name))
        plain["train"]["epochs"], plain["data"]["workers"] = 1, workers
        found.append(run(settings.build(plain), tmp_path / str(workers), cpu=True).state.best)
    assert found[0] == found[1]
    assert np.isfinite(found[0]["best"])
