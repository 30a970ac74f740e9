"""kill -9 in the middle of an epoch, resume: the same weights, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import ENVIRONMENT, TINY, Command
from safetensors.torch import load_file

pytestmark = pytest.mark.e2e
# Dropout on: a resumed run has to draw what the undisturbed one would have drawn.
OPTIONS = ("--train.checkpoint_steps", "2", "--model.encoder.dropout", "0.1")


def launched(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "lnln_dist", *map(str, arguments)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def start(corpus: Path, output: Path) -> "subprocess.Popen[bytes]":
    data = ("--data.path", corpus / "data")
    return launched("train", "--config", TINY, *data, "--output", output, *OPTIONS)


def wait_for(path: Path, process: "subprocess.Popen[bytes]", seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.002)


def killed_after(arguments: tuple[str | Path, ...], output: Path, *, step: int) -> None:
    """A training killed in the middle, after a checkpoint."""
    process = launched(*arguments)
    wait_for(output / "checkpoints" / f"step-{step:08d}", process)
    process.kill()
    process.wait()
    done = [p.name for p in (output / "checkpoints").glob("step-*")]
    assert "step-00000010" not in done, "killed too late to show anything"


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, command: Command) -> Path:
    output = corpus / "undisturbed"
    data = ("--data.path", corpus / "data")
    command("train", "--config", TINY, *data, "--output", output, *OPTIONS)
    return output


def test_killed_and_resumed_equals_undisturbed(
    corpus: Path, undisturbed: Path, command: Command
) -> None:
    output, data = corpus / "killed", ("--data.path", corpus / "data")
    train = ("train", "--config", TINY, *data, "--output", output, *OPTIONS)
    killed_after(train, output, step=2)
    command(*train, "--resume")
    final = Path("checkpoints") / "step-00000010" / "model.safetensors"
    assert same(undisturbed / final, output / final)
    assert same(undisturbed / "best/best.safetensors", output / "best/best.safetensors")
    logs = [
        [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        for run in (undisturbed, output)
    ]
    losses = [[(x["step"], x["loss/total"]) for x in log if x["kind"] == "train"] for log in logs]
    assert losses[0] == losses[1]


def test_told_to_leave_it_checkpoints_and_says_so(
    corpus: Path, undisturbed: Path, command: Command
) -> None:
    output = corpus / "left"
    process = start(corpus, output)
    wait_for(output / "log.jsonl", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 85
    assert list((output / "checkpoints").glob("step-*"))
    data = ("--data.path", corpus / "data")
    command("train", "--config", TINY, *data, "--output", output, *OPTIONS, "--resume")
    final = Path("checkpoints") / "step-00000010" / "model.safetensors"
    assert same(undisturbed / final, output / final)


def test_a_finished_run_resumes_to_nothing(
    undisturbed: Path, corpus: Path, command: Command
) -> None:
    data = ("--data.path", corpus / "data")
    done = command("train", "--config", TINY, *data, "--output", undisturbed, *OPTIONS, "--resume")
    assert "has finished already" in done.stderr
