"""How long a checkpoint holds training up: written in the background, and waited for.

    OMP_NUM_THREADS=1 python benchmarks/saving.py DIR [--every 10]

DIR is prepared data. One network is trained for an epoch twice, with a checkpoint every few steps:
as the program does it, and with training standing still until each is on disk. Reports how long
training stood still per checkpoint, and the whole time from the first checkpoint to the last step.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from lnln_dist import settings
from lnln_dist.runtime import FullState
from lnln_dist.train.checkpoint import Saver, TrainState
from lnln_dist.train.program import run

ENCODER = {"name": "tiny", "tiny_width": 384, "tiny_depth": 6, "tiny_heads": 6}


class Timed(Saver):
    """Notes how long each save held the training thread up."""

    held: list[float]
    begun: list[float]

    def save(self, state: TrainState, collect: Callable[[], FullState]) -> None:
        """As ``Saver.save``."""
        begin = time.perf_counter()
        super().save(state, collect)
        self.held.append(time.perf_counter() - begin)
        self.begun.append(begin)


class Waiting(Timed):
    """Training stands still until the checkpoint is on disk."""

    def save(self, state: TrainState, collect: Callable[[], FullState]) -> None:
        """As ``Saver.save``."""
        super().save(state, collect)
        begin = time.perf_counter()
        self.wait()
        self.held[-1] += time.perf_counter() - begin


def measure(kind: type[Timed], data: str, folder: Path, every: int) -> tuple[float, float, int]:
    """(median seconds held up per checkpoint, seconds first to last checkpoint, bytes of one)."""
    config = settings.build(
        {
            "data": {"path": data},
            "model": {"encoder": ENCODER, "width": 64},
            "select": {"rates": [0.5]},
            "train": {"epochs": 1, "batch_size": 16, "checkpoint_steps": every},
        }
    )
    kind.held, kind.begun = [], []
    with mock.patch("lnln_dist.train.setup.Saver", kind):
        run(config, folder, cpu=True)
    [*_, last] = sorted((folder / "checkpoints").glob("step-*"))
    size = sum(file.stat().st_size for file in last.iterdir())
    # The last two are of the epoch's end, where validation lies between.
    return statistics.median(kind.held[:-1]), kind.begun[-2] - kind.begun[0], size


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--every", type=int, default=10, help="steps between checkpoints")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in (("waited for", Waiting), ("in the background", Timed)):
            held, whole, size = measure(kind, given.data, Path(folder) / name, given.every)
            print(
                f"{name}: {held:.3f} s per checkpoint of {size / 1e6:.0f} MB, {whole:.1f} s in all"
            )


if __name__ == "__main__":
    main()
