"""A stand-in for the training program: a run folder's log and checkpoints, scores by a formula."""

import copy
import json
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lnln_dist.config import Config
from lnln_dist.sweep import space, study
from lnln_dist.sweep.folder import Folder
from lnln_dist.sweep.records import Epoch, committed
from lnln_dist.sweep.results import Results
from lnln_dist.sweep.state import Key, Study, Worker
from lnln_dist.sweep.trial import TrialFailedError, clear_torn_start, failing_for_good


def score(config: Config, epoch: int) -> float:
    """An error that falls with the epochs and depends on weights, rate and, a little, the seed."""
    loss = config.loss
    level = abs(loss.adversarial - 0.4) + 2 * abs(loss.reconstruction - 0.1)
    noise = ((config.train.seed * 7919 + epoch * 104729) % 1000) / 50_000
    return (1 + level + config.select.rates[0]) / epoch**0.3 + noise


def program(
    config: Config,
    folder: Path,
    *,
    resume: bool,
    cpu: bool | None,
    on_epoch: Callable[[Any], bool],
    lends: bool,
    shown_first: Collection[str] = (),
    epoch_s: float = 0.0,
    score: Callable[[Config, int], float] = score,
) -> Any:
    """Trains nothing, but leaves and reads what `train.program.run` would."""
    done = 0
    for state in sorted((folder / "checkpoints").glob("step-*/state.json")):
        done = json.loads(state.read_text())["state"]["step"]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.jsonl"
    lines = [] if not log.exists() else log.read_text().splitlines()
    log.write_text("".join(f"{x}\n" for x in lines if json.loads(x)["step"] <= done))
    stop = False
    while done < config.train.epochs and not stop:
        time.sleep(epoch_s)
        done += 1
        valid = {"mae": score(config, done), "corr": 0.5}
        line = {"kind": "score", "step": done, "time": time.time(), "epoch": done}
        line |= {f"valid/{name}/mean": value for name, value in valid.items()}
        with log.open("a") as handle:
            handle.write(json.dumps(line) + "\n")
        state = {"step": done, "finished": done == config.train.epochs}
        target = folder / "checkpoints" / f"step-{done:08d}"
        target.mkdir(parents=True)
        (target / "state.json").write_text(json.dumps({"state": state}))
        stop = on_epoch(SimpleNamespace(epoch=done, step=done, valid=valid))
    (folder / "best").mkdir(exist_ok=True)
    (folder / "best" / "best.safetensors").write_text("")
    return SimpleNamespace(
        state=SimpleNamespace(finished=done == config.train.epochs), peak_gib=0.0
    )


SWEEP = {
    "settings": {"train": {"epochs": 9}, "select": {"rates": [0.5]}},
    "axes": {
        "loss.adversarial": {"grid": [0, 0.2, 0.4, 0.8]},
        "loss.reconstruction": {"grid": [0, 0.1]},
    },
    "seeds": [1, 2, 3],
    "screen": {"seeds": 2},
}
DRAWN = {
    **copy.deepcopy(SWEEP),
    "axes": {
        "loss.adversarial": {"uniform": [0.0, 1.0]},
        "loss.reconstruction": {"choice": [0, 0.1]},
        "select.rates": {"grid": [[0.1], [0.9]]},
    },
    "screen": {"seeds": 1},
}


def resolve(raw: dict[str, Any] = SWEEP, **more: Any) -> space.Space:
    """A sweep's settings."""
    return space.resolve(space.freeze(study.build({**raw, **more})))


def breaking(error: Exception, when: Callable[[Config, int], bool] = lambda *_: True) -> Any:
    """A program that breaks in those epochs of which that is true."""

    def scored(config: Config, epoch: int) -> float:
        if when(config, epoch):
            raise error
        return score(config, epoch)

    return partial(program, score=scored)


def make_study(path: Path, raw: dict[str, Any] = SWEEP, **more: Any) -> Study:
    """A new or resumed study."""
    made = resolve(raw)
    folder = Folder(path)
    folder.create(resume=True)
    folder.adopt(made)
    folder.save(made)
    return Study(made, folder, **more)


def train(state: Study, key: Key, until: int, run: Any = program) -> Any:
    """What a worker does for one stretch, but in this process."""
    folder = state.folder.trial(state.name(key))
    clear_torn_start(folder)
    for row in committed(folder):
        state.heard(key, row)

    def on_epoch(report: Any) -> bool:
        state.heard(key, Epoch(report.epoch, report.step, 0.0, report.valid))
        return bool(report.epoch >= until)

    config = state.space.config(state.setting(key).values, key[1])
    with failing_for_good(folder):
        return run(
            config,
            folder,
            resume=True,
            cpu=True,
            on_epoch=on_epoch,
            lends=True,
            shown_first=state.space.swept,
        )


def drive(state: Study, *, stop_after: int | None = None, run: Any = program) -> int:
    """Trains a study's stretches one after the other; returns how many."""
    count = 0
    while not state.over and count != stop_after:
        stretch = state.next()
        assert stretch is not None
        state.start(stretch)
        key = (stretch.name, stretch.seed)
        until = min(stretch.until, state.setting(key).epochs)
        try:
            result = train(state, key, until, run)
        except TrialFailedError as err:
            state.failed(key, str(err))
        else:
            state.ended(key, Worker("vm", 1, 0.0), finished=result.state.finished)
        count += 1
    return count


def swept(path: Path, raw: dict[str, Any] = SWEEP, **how: Any) -> Results:
    """A study that is driven (see ``drive``), as it is read again."""
    drive(make_study(path, raw), **how)
    return Results(path)


def begin(state: Study) -> Key:
    """Hands the next stretch out to nobody; returns its trial."""
    stretch = state.next()
    assert stretch is not None
    state.start(stretch)
    return stretch.name, stretch.seed
