"""``lnln-dist export``."""

from collections.abc import Sequence
from pathlib import Path

from lnln_dist.commands import make_parser, parse


def command(argv: Sequence[str]) -> int:
    """Writes a run's model as one folder."""
    parser = make_parser(
        "export",
        "Write a trained model as one folder that needs neither its run nor its data: weights, "
        "settings, tokenizer, model card. `lnln_dist.load(OUT)` and every verb that takes a run "
        "take it.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("target", metavar="OUT", help="folder to write")
    parser.add_argument("--checkpoint", default="best", help="which best checkpoint")
    parser.add_argument(
        "--results", metavar="DIR", help="evaluation of this checkpoint, for the model card"
    )
    parser.add_argument(
        "--onnx", action="store_true", help="also as ONNX (model.onnx), compared with predict"
    )
    parser.add_argument(
        "--torch-export",
        action="store_true",
        help="also as a graph of torch.export (model.pt2), compared with predict",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    given = parse(parser, argv)
    from lnln_dist.share.graph import ONNX, TOLERANCE, TORCH
    from lnln_dist.share.model import load
    from lnln_dist.specs.registry import is_own

    model = load(given["run"], checkpoint=given["checkpoint"], cpu=True)
    differences = model.save_pretrained(
        given["target"],
        results=given["results"],
        graphs=[ONNX] * given["onnx"] + [TORCH] * given["torch_export"],
        overwrite=given["overwrite"],
    )
    name = model.run.config.model.name
    size = sum(path.stat().st_size for path in Path(given["target"]).rglob("*") if path.is_file())
    print(f"{given['target']}: {name}, checkpoint {given['checkpoint']}, {size / 1e6:.1f} MB")
    for graph, difference in differences.items():
        print(f"{graph}: within {difference:.1g} of what predict gives (allowed {TOLERANCE:g})")
    if is_own(name):
        print(f"note: {name} is a module of yours: it is not in the folder, pass it on beside it")
    return 0
