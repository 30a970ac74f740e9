"""``lnln-dist synthesize``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lnln_dist.arguments import Parser
from lnln_dist.commands import make_parser, parse, triple
from lnln_dist.errors import ConfigError


def _parser() -> Parser:
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
    parser.add_argument(
        "--format",
        choices=["sentences", "mmsa"],
        default="sentences",
        help="mmsa adds text_bert and text, without which MMSA's own loader takes no file",
    )
    parser.add_argument(
        "--tokenizer", metavar="PATH", help="of mmsa's text_bert, as of prepare (default: corpus)"
    )
    parser.add_argument(
        "--text-encoder", metavar="PATH", help="of mmsa's text, as of extract (see there)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return parser


def command(argv: Sequence[str]) -> int:
    """Writes a synthetic corpus."""
    given = parse(_parser(), argv)
    from lnln_dist.data.schema import SPLITS

    corpus: dict[str, Any] = {
        "dataset": given["dataset"],
        "samples": triple(given["samples"], "--samples"),
        "scale": given["scale"],
        "seed": given["seed"],
        "overwrite": given["overwrite"],
    }
    if given["format"] == "mmsa":
        from lnln_dist.compat.mmsa import encoder_for, synthesize_mmsa

        tokenizer = given["tokenizer"] or "corpus"
        encoder = given["text_encoder"] or encoder_for(tokenizer)
        report = synthesize_mmsa(
            Path(given["target"]), tokenizer=tokenizer, encoder=encoder, **corpus
        )
    else:
        if given["tokenizer"] or given["text_encoder"]:
            raise ConfigError("--tokenizer and --text-encoder act with --format mmsa only")
        from lnln_dist.data.synthetic import synthesize

        report = synthesize(Path(given["target"]), **corpus)
    sizes = ", ".join(f"{n} {split}" for n, split in zip(report["samples"], SPLITS, strict=True))
    print(
        f"{given['target']}: synthetic {report['dataset']}, {sizes}, {report['bytes'] / 1e6:.1f} MB"
    )
    return 0
