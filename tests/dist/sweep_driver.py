"""Runs a sweep in a process of its own: ``sweep_driver.py SWEEP.yaml DIR PROGRAM [SECONDS]``.

PROGRAM names a stand-in below, or ``real`` for the training program. It is started with the tests'
folder on PYTHONPATH, so that workers find the stand-ins.
"""

import functools
import os
import sys
from pathlib import Path
from typing import Any

import sweep_standin

from lnln_dist import console
from lnln_dist.config import Config
from lnln_dist.errors import TrainingError
from lnln_dist.sweep import session


def faulty(config: Config, folder: Path, **more: Any) -> Any:
    """Diverges, always breaks or dies once, depending on the weight of the adversarial loss."""
    weight = config.loss.adversarial
    if weight == 0.1:
        raise TrainingError("loss not finite")
    if weight == 0.2:
        raise ValueError("a bug")

    tell = more.pop("on_epoch")

    def on_epoch(report: Any) -> bool:
        answer: bool = tell(report)
        died = folder.parent / f"died_{folder.name}"
        if weight == 0.3 and report.epoch == 2 and not died.exists():
            died.touch()
            os._exit(1)
        return answer

    return sweep_standin.program(config, folder, on_epoch=on_epoch, **more)


def dying(config: Config, folder: Path, **more: Any) -> Any:
    """Trains for real; the second process dies once, after the first epoch."""
    from lnln_dist.train.program import run

    tell = more.pop("on_epoch")

    def on_epoch(report: Any) -> bool:
        died = folder.parent / f"died_{folder.name}"
        if os.environ.get("RANK") == "1" and not died.exists():
            died.touch()
            os._exit(1)
        answer: bool = tell(report)
        return answer

    return run(config, folder, on_epoch=on_epoch, **more)


PROGRAMS = {"plain": sweep_standin.program, "faulty": faulty, "dying": dying, "real": None}


def main(argv: list[str]) -> int:
    """Runs or resumes the sweep."""
    config, output, name, *rest = argv
    program: Any = PROGRAMS[name]
    if rest:
        program = functools.partial(program, epoch_s=float(rest[0]))
    sweep = session.frozen(Path(config), [])
    done = session.run(sweep, Path(output), resume=True, cpus=2, program=program)
    print(done.summary)
    if done.grid is not None:
        print(f"Tune: {len(done.grid)} trials, {done.grid.num_errors} errors")
    return 0


if __name__ == "__main__":
    sys.exit(console.finish(main, sys.argv[1:]))
