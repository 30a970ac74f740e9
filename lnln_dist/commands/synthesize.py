"""``lnln-dist synthesize``."""

from collections.abc import Sequence
from pathlib import Path

from lnln_dist.commands import make_parser, parse, triple


def command(argv: Sequence[str]) -> int:
    """Writes a synthetic corpus."""
    parser = make_parser(
        "synthesize",
        "Write a SYNTHETIC corpus in the MMSA format: sentences from a grammar with a sentiment "
        "lexicon, audio and vision sequences that carry known shares of the label. The same seed "
        "writes the same file. The model behind it is described in lnln_dist/data/synthetic.py "
        "and in the file's own `config` key.",
    )
    parser.add_argument("target", metavar="OUT.pkl", help="pickle to write")
    parser.add_argument(
        "--dataset",
        choices=["demo", "mosi", "mosei", "sims"],
        default="demo",
        help="whose sizes, widths, lengths and label grid to take; demo is small",
    )
    parser.add_argument("--samples", metavar="TRAIN,VALID,TEST", help="numbers of utterances")
    parser.add_argument(
        "--scale", type=float, help="multiply the data set's own numbers instead, e.g. 0.1"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    given = parse(parser, argv)
    from lnln_dist.data.schema import SPLITS
    from lnln_dist.data.synthetic import synthesize

    report = synthesize(
        Path(given["target"]),
        dataset=given["dataset"],
        samples=triple(given["samples"], "--samples"),
        scale=given["scale"],
        seed=given["seed"],
        overwrite=given["overwrite"],
    )
    sizes = ", ".join(f"{n} {split}" for n, split in zip(report["samples"], SPLITS, strict=True))
    print(
        f"{given['target']}: synthetic {report['dataset']}, {sizes}, {report['bytes'] / 1e6:.1f} MB"
    )
    return 0
