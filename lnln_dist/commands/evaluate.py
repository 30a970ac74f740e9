"""``lnln-dist evaluate``."""

from collections.abc import Sequence
from pathlib import Path

from lnln_dist.arguments import Parser
from lnln_dist.commands import make_parser, numbers, parse
from lnln_dist.evaluate.registry import PROTOCOLS


def _parser() -> Parser:
    parser = make_parser(
        "evaluate",
        "Score runs at every missing rate: all metrics, several noise seeds, with the best "
        "constant predictor beside them. On several processes: `accelerate launch -m "
        "lnln_dist.commands.evaluate`.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--data", metavar="DIR", help="prepared data (default: each run's own)")
    parser.add_argument("--split", default="test", help="split to score")
    parser.add_argument(
        "--protocol",
        default="paper",
        metavar="NAME|FILE",
        help=f"what is erased: {', '.join(PROTOCOLS)}, or a YAML file of your own; "
        "the four options below change it, and results then say `custom of NAME`",
    )
    parser.add_argument(
        "--rates", metavar="R,...", help="missing rates in [0, 1] in place of the protocol's"
    )
    parser.add_argument("--seeds", metavar="S,...", help="noise seeds in place of the protocol's")
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="M[,M]",
        help="also score with these modalities wholly absent (text; audio,vision; ...); repeatable",
    )
    parser.add_argument(
        "--absent",
        metavar="M[,M]",
        help="leave these modalities out at every rate (audio,vision: text alone)",
    )
    parser.add_argument(
        "--checkpoint",
        default="best",
        help="which best checkpoint, or per-metric: each score from the one kept for it",
    )
    parser.add_argument("--batch-size", type=int, default=128, help="samples per forward pass")
    parser.add_argument("--workers", type=int, default=0, help="loader processes per rank")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation")
    parser.add_argument("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    return parser


def command(argv: Sequence[str]) -> int:
    """Evaluates and prints the tables on the main process."""
    given = parse(_parser(), argv)
    rates = numbers(given["rates"], "--rates", float)
    seeds = numbers(given["seeds"], "--seeds", int)
    from lnln_dist.evaluate.protocol import parse_missing
    from lnln_dist.evaluate.robust import evaluate_runs
    from lnln_dist.evaluate.table import show
    from lnln_dist.runtime import Runtime

    missing = [parse_missing(text) for text in given["missing"]]
    absent = parse_missing(given["absent"], "--absent") if given["absent"] else ()
    # TensorBoard's columns lie among a sweep's trials, where a shell's * finds them, too.
    paths = [Path(run) for run in given["runs"]]
    runs = [p for p in paths if not (p.name.startswith("events.out.tfevents") and p.is_file())]
    runtime = Runtime(cpu=True if given["cpu"] else None)
    try:
        found = evaluate_runs(
            runs,
            output=Path(given["output"]),
            runtime=runtime,
            data=given["data"],
            split=given["split"],
            protocol=given["protocol"],
            rates=rates,
            seeds=seeds,
            missing=missing,
            absent=absent,
            checkpoint=given["checkpoint"],
            batch_size=given["batch_size"],
            workers=given["workers"],
            overwrite=given["overwrite"],
            progress=True,
        )
        if runtime.is_main:
            show(found.metrics, found.summary)
    finally:
        runtime.close()
    return 0


if __name__ == "__main__":
    import sys

    from lnln_dist import console

    sys.exit(console.finish(command, sys.argv[1:]))
