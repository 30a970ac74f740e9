"""The training program as a trainable of Ray Tune: the script of the README and its promises."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from command_line import TINY
from launcher import environment
from tiny_runs import write_data

pytest.importorskip("ray", reason="the sweep's Ray tests need Ray: pip install -e '.[ray]'")
pytest.importorskip("optuna", reason="the README's script uses Optuna")
pytestmark = [pytest.mark.dist, pytest.mark.slow]
README = Path(__file__).parents[2] / "launch" / "ray" / "README.md"
START = "import ray; ray.init(num_cpus=2, object_store_memory=80000000, include_dashboard=False)\n"
RESTORE = """
import json
from pathlib import Path
from ray import tune
from lnln_dist.sweep import make_trainable
trainable = make_trainable("configs/demo.yaml", overrides={"train.epochs": 4})
found = tune.Tuner.restore(str(Path("tune/demo").absolute()), trainable=trainable,
                           resume_errored=True, resume_unfinished=True).fit()
row = dict(trials=len(found), errors=found.num_errors, mae=found.get_best_result().metrics["mae"])
Path("found.json").write_text(json.dumps(row))
"""
PBT = """
from pathlib import Path
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from lnln_dist.sweep import make_trainable
tuner = tune.Tuner(
    make_trainable("configs/demo.yaml", overrides={"train.epochs": 6}),
    param_space={"optim.lr": tune.grid_search([1e-9, 3e-3])},
    tune_config=tune.TuneConfig(
        metric="mae", mode="min", reuse_actors=True,
        scheduler=PopulationBasedTraining(
            time_attr="epoch", perturbation_interval=2, quantile_fraction=0.5, synch=True,
            hyperparam_mutations={"optim.lr": tune.loguniform(1e-4, 1e-2)},
        ),
    ),
    run_config=tune.RunConfig(name="pbt", storage_path=str(Path("tune").absolute())),
)
found = tuner.fit()
print(len(found), "trials,", found.num_errors, "errors")
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a configs/demo.yaml, as the script of the README wants it."""
    write_data(tmp_path / "data")
    (tmp_path / "configs").mkdir()
    raw = {"base": str(TINY), "data": {"path": "data"}, "train": {"batch_size": 4}}
    (tmp_path / "configs" / "demo.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path


def start(script: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", START + script],
        cwd=folder,
        env=environment(RAY_USAGE_STATS_ENABLED="0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def finish(process: "subprocess.Popen[str]", timeout: float = 240) -> str:
    try:
        said, _ = process.communicate(timeout=timeout)
    finally:
        kill(process)
    assert process.returncode == 0, said[-4000:]
    return said


def epochs(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "score"]


def test_the_readmes_script_is_killed_and_restored(here: Path) -> None:
    found = re.search(r"```python\n(.+?)```", README.read_text(), re.DOTALL)
    assert found is not None
    script = found[1]
    assert len([line for line in script.splitlines() if line.strip()]) <= 20
    process = start(script, here)
    limit = time.monotonic() + 120
    while len(list(here.glob("tune/demo/*/run/checkpoints/step-*/state.json"))) < 2:
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < limit
        time.sleep(0.1)
    time.sleep(2)
    kill(process)
    process.communicate()
    # Its workers hear of it by themselves.
    said = finish(start(RESTORE, here))
    row = json.loads((here / "found.json").read_text())  # workers' words mix into what it prints
    assert (row["trials"], row["errors"]) == (6, 0), said
    assert row["mae"] > 0
    runs = list(here.glob("tune/demo/*/run"))
    assert len(runs) >= 6  # a trial that Tune had not noted before the kill is not known to it
    lengths = set()
    for run in runs:
        rows = [row["epoch"] for row in epochs(run)]
        assert rows == list(range(1, len(rows) + 1)), "an epoch is missing, or there twice"
        lengths.add(len(rows))
    assert max(lengths) == 4
    results = next(here.glob("tune/demo/*/result.json")).read_text().splitlines()
    row = json.loads(results[-1])
    assert {"epoch", "step", "mae", "corr", "loss/total", "samples_per_s"} <= row.keys()
    assert row["training_iteration"] == row["epoch"]


def test_population_based_training_hands_weights_on(here: Path) -> None:
    said = finish(start(PBT, here))
    assert "2 trials, 0 errors" in said, said[-3000:]
    origins = list(here.glob("tune/pbt/*/run/origin.json"))
    assert origins, said[-3000:]
    heir, donor = origins[0].parent, Path(json.loads(origins[0].read_text())["pointer"]["run"])
    # Its first epochs are those of the run whose weights it got; then it trained on by itself.
    own = {row["epoch"]: row["valid/mae/mean"] for row in epochs(heir)}
    others = {row["epoch"]: row["valid/mae/mean"] for row in epochs(donor)}
    assert own[2] == others[2]
    assert max(own) > 2
    lr = yaml.safe_load((heir / "config.yaml").read_text())["optim"]["lr"]
    assert lr not in (1e-9, 3e-3)
