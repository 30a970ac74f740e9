"""``lnln-dist predict``."""

from collections.abc import Sequence
from pathlib import Path

from lnln_dist.commands import make_parser, parse


def command(argv: Sequence[str]) -> int:
    """Writes predictions as CSV."""
    parser = make_parser("predict", "Write a run's predictions for data as it is, no noise added.")
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("data", metavar="DATA", help="prepared folder, or an MMSA pickle")
    parser.add_argument("--output", required=True, metavar="FILE.csv", help="file to write")
    parser.add_argument("--split", default="test", help="split to predict")
    parser.add_argument("--checkpoint", default="best", help="which best checkpoint")
    parser.add_argument("--batch-size", type=int, default=128, help="samples per forward pass")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    given = parse(parser, argv)
    from lnln_dist.evaluate.single import predict_file
    from lnln_dist.runtime import Runtime

    runtime = Runtime(cpu=True if given["cpu"] else None)
    try:
        table = predict_file(
            Path(given["run"]),
            Path(given["data"]),
            output=Path(given["output"]),
            runtime=runtime,
            split=given["split"],
            checkpoint=given["checkpoint"],
            batch_size=given["batch_size"],
            overwrite=given["overwrite"],
        )
    finally:
        runtime.close()
    print(f"{given['output']}: {len(table)} predictions of split {given['split']}")
    return 0
