"""``lnln-dist import-checkpoint``."""

from collections.abc import Sequence
from pathlib import Path

from lnln_dist.commands import make_parser, parse


def command(argv: Sequence[str]) -> int:
    """Turns a released checkpoint into a run folder."""
    parser = make_parser(
        "import-checkpoint",
        "Turn a checkpoint of the released LNLN code into a run folder that evaluate takes; all "
        "sizes are read off its tensors.",
    )
    parser.add_argument("file", metavar="FILE.pth", help="checkpoint of the released code")
    parser.add_argument("target", metavar="OUT", help="run folder to write")
    parser.add_argument(
        "--encoder", required=True, metavar="DIR", help="folder of its BERT: config and tokenizer"
    )
    parser.add_argument("--dataset", required=True, help="mosi, mosei, sims, or an own name")
    parser.add_argument(
        "--family", choices=["mosi", "sims"], help="how an own data set's scores are computed"
    )
    parser.add_argument(
        "--label-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of an own data set"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing run")
    given = parse(parser, argv)
    from lnln_dist.compat.import_run import import_checkpoint

    info = import_checkpoint(
        Path(given["file"]),
        Path(given["target"]),
        encoder=Path(given["encoder"]),
        dataset=given["dataset"],
        family=given["family"],
        label_range=tuple(given["label_range"]) if given["label_range"] else None,
        overwrite=given["overwrite"],
    )
    print(f"{given['target']}: imported, {info.parameters / 1e6:.2f} M parameters, {info.dataset}")
    return 0
