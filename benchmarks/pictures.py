"""What drawing for TensorBoard costs a run: time spent drawing over the time of its steps.

    python benchmarks/pictures.py DATA FOLDER [OPTION...]

DATA is prepared data, OPTIONs are those of `lnln-dist train` beside configs/demo.yaml.
"""

import sys
import time
from pathlib import Path
from typing import Any

from lnln_dist.train import __main__ as program
from lnln_dist.train import loop
from lnln_dist.train.pictures import Pictures

ROOT = Path(__file__).resolve().parents[1]


def timed(owner: Any, name: str, spent: list[float]) -> None:
    plain = getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        begin = time.process_time()
        try:
            return plain(*given, **named)
        finally:
            spent.append(time.process_time() - begin)

    setattr(owner, name, call)


def main() -> None:
    data, folder, *options = sys.argv[1:]
    drawing: list[float] = []
    stepping: list[float] = []
    timed(Pictures, "draw", drawing)
    timed(loop, "train_step", stepping)
    begin = time.process_time()
    config = str(ROOT / "configs/demo.yaml")
    program.command(["--config", config, "--data.path", data, "--output", folder, *options])
    whole, drawn = time.process_time() - begin, [x for x in drawing if x > 0.01]
    print(
        f"processor time: {len(stepping)} steps {sum(stepping):.1f} s, run {whole:.1f} s; "
        f"{len(drawn)} of {len(drawing)} epochs drawn, {sum(drawn):.2f} s: "
        f"{sum(drawn) / sum(stepping):.2%} of the steps, {sum(drawn) / whole:.2%} of the run; "
        f"slowest {max(drawn):.2f} s"
    )


if __name__ == "__main__":
    main()
