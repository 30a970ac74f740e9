"""The training program under ``accelerate launch``: one process and two are the same run."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from command_line import TINY, Command
from launcher import environment, free_port
from safetensors.torch import load_file

pytestmark = [pytest.mark.dist, pytest.mark.timeout(600)]
LAST = Path("checkpoints/step-00000010/model.safetensors")


def start(*arguments: str | Path, module: str = "lnln_dist.train") -> "subprocess.Popen[str]":
    """Two processes of a module; a process group of its own, so that all of it can be ended."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--main_process_port", str(free_port()), "-m", module]
    return subprocess.Popen(
        [*launch, *map(str, arguments)],
        env=environment(ACCELERATE_USE_CPU="true", DS_ACCELERATOR="cpu"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]", *, seconds: float = 280) -> str:
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        end(process)
    assert process.returncode == 0, output[-4000:]
    return output


def end(process: "subprocess.Popen[str]") -> None:
    """Kills what is left of a launch with its ranks, which are in sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        launcher = psutil.Process(process.pid)
        for one in (launcher, *launcher.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


@pytest.fixture(scope="module")
def options(corpus: Path) -> Iterator[tuple[str | Path, ...]]:
    yield ("--config", TINY, "--data.path", corpus / "data", "--train.checkpoint_steps", "2")


@pytest.fixture(scope="module")
def pair(corpus: Path, options: tuple[str | Path, ...]) -> Path:
    """A finished run of two processes."""
    finish(start(*options, "--output", corpus / "pair"))
    return corpus / "pair"


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss/total"] for line in lines if line["kind"] == "train"]


def scores(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if "mae" in name.lower()}
        for line in lines
        if line["kind"] == "score"
    ]


def test_losses_of_all_steps_agree_with_one_process(trained: Path, pair: Path) -> None:
    one, two = losses(trained), losses(pair)
    assert len(one) == len(two) == 10
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 1e-5
    assert json.loads((pair / "run.json").read_text())["world_size"] == 2


def test_an_alternating_order_is_the_same_for_one_process_and_two(
    corpus: Path, options: tuple[str | Path, ...], command: Command
) -> None:
    own = (*options, "--train.order", "alternating")
    finish(start(*own, "--output", corpus / "alternating_pair"))
    command("train", *own, "--output", corpus / "alternating_one")
    one, pair = losses(corpus / "alternating_one"), losses(corpus / "alternating_pair")
    assert len(one) > 2
    assert pair == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("strategy", ["zero3", "fsdp2"])
def test_a_sharded_run_starts_scores_and_keeps_what_a_whole_one_does(
    corpus: Path, pair: Path, options: tuple[str | Path, ...], strategy: str
) -> None:
    if strategy == "zero3":
        pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    run = corpus / strategy
    finish(start(*options, "--train.strategy", strategy, "--output", run))
    assert losses(run) == pytest.approx(losses(pair), abs=1e-5)
    kept, wanted = (load_file(r / "best" / "best.safetensors") for r in (run, pair))
    assert kept.keys() == wanted.keys()
    assert all(kept[name].shape == wanted[name].shape for name in kept)
    assert scores(run) == [pytest.approx(line, abs=1e-3) for line in scores(pair)]


def test_killed_and_resumed_equals_undisturbed(
    corpus: Path, options: tuple[str | Path, ...], pair: Path
) -> None:
    output = corpus / "pair_killed"
    process = start(*options, "--output", output)
    try:
        limit = time.monotonic() + 120
        while not (output / "checkpoints" / "step-00000002").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < limit
            time.sleep(0.002)
    finally:
        end(process)
    done = {p.name for p in (output / "checkpoints").glob("step-*")}
    assert "step-00000010" not in done, "killed too late to show anything"
    finish(start(*options, "--output", output, "--resume"))
    one, other = load_file(pair / LAST), load_file(output / LAST)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert losses(pair) == losses(output)


def test_ranks_leave_when_their_launcher_alone_is_killed(
    corpus: Path, options: tuple[str | Path, ...]
) -> None:
    output = corpus / "orphans"
    process = start(*options, "--output", output, "--train.epochs", "400")
    ranks: list[psutil.Process] = []
    try:
        limit = time.monotonic() + 120
        while not (output / "checkpoints" / "step-00000002").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < limit
            time.sleep(0.002)
        ranks = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, left = psutil.wait_procs(ranks, timeout=60)
        assert not left, "the ranks train on"
    finally:
        for rank in ranks:
            with contextlib.suppress(psutil.NoSuchProcess):
                rank.kill()
        end(process)
    newest = max((output / "checkpoints").glob("step-*"))
    state = json.loads((newest / "state.json").read_text())["state"]
    assert not state["finished"]
    assert state["step"] == len(losses(output)), "not the checkpoint of the last step"


def test_two_processes_score_every_sample_once(
    trained: Path, tmp_path: Path, command: Command
) -> None:
    choice = ("--protocol", "cms", "--seeds", "1")
    command("evaluate", trained, "--output", tmp_path / "one", *choice)
    finish(
        start(trained, "--output", tmp_path / "two", *choice, module="lnln_dist.commands.evaluate")
    )
    one, two = (pd.read_parquet(tmp_path / n / "predictions.parquet") for n in ("one", "two"))
    assert two.groupby(["pattern", "rate"]).id.nunique().eq(24).all()
    assert len(two) == 11 * 24
    merged = one.merge(two, on=["id", "pattern", "rate"], suffixes=("_one", "_two"))
    assert (merged.erased_audio_one == merged.erased_audio_two).all()
    assert (merged.prediction_one - merged.prediction_two).abs().max() < 1e-6
