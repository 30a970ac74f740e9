"""Data that are cut short under a training or an evaluation: the shard and the remedy are named."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, TINY

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("workers", "code"), [(0, -signal.SIGBUS), (1, 2)])
def test_a_shard_cut_short_under_a_training_is_named(
    corpus: Path, tmp_path: Path, workers: int, code: int
) -> None:
    shutil.copytree(corpus / "data", tmp_path / "data")
    options = [
        *("train", "--config", TINY, "--data.path", tmp_path / "data", "--train.epochs", "5000"),
        *("--data.workers", workers, "--cpu", "--output", tmp_path / "run"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "lnln_dist", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""},
    )
    limit = time.monotonic() + 60
    while not list((tmp_path / "run").glob("checkpoints/step-*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < limit
        time.sleep(0.05)
    (shard,) = (tmp_path / "data").glob("*train*.arrow")
    os.truncate(shard, 100)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    names(said, shard)


def names(said: str, shard: Path) -> None:
    (line,) = (line for line in said.splitlines() if "lnln-dist: error: " in line)
    assert f"{shard}: the shard has 100 bytes" in line
    assert "run lnln-dist verify" in line
    assert "Traceback" not in said


CUTTING = """import os, sys
from pathlib import Path
from lnln_dist import console
from lnln_dist.data.noise import CleanNoise
from lnln_dist.evaluate.cases import open_cases, predict_case
from lnln_dist.evaluate.load import build_model
from lnln_dist.runtime import Runtime

def evaluate(arguments):
    run, data, shard, workers = arguments
    (case,) = open_cases([Path(run)], data=data, split="test", checkpoint="best")
    cut = lambda share: os.truncate(shard, 100) if share > 0.1 else None
    predict_case(
        case, build_model(case.run), [CleanNoise()], runtime=Runtime(cpu=True),
        batch_size=1, workers=int(workers), before_pass=cut,
    )
    return 0

sys.exit(console.finish(evaluate, sys.argv[1:]))"""


@pytest.mark.parametrize(("workers", "code"), [(0, -signal.SIGBUS), (1, 2)])
def test_a_shard_cut_short_under_an_evaluation_is_named(
    trained: Path, tmp_path: Path, workers: int, code: int
) -> None:
    data = shutil.copytree(trained.parent / "data", tmp_path / "data")
    (shard,) = data.glob("*test*.arrow")
    done = subprocess.run(
        [sys.executable, "-c", CUTTING, trained, data, shard, str(workers)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == code, done.stderr
    names(done.stderr, shard)
