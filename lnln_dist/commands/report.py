"""``lnln-dist report``."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from lnln_dist.arguments import Parser
from lnln_dist.commands import make_parser, parse
from lnln_dist.errors import UserError, install


def _parser() -> Parser:
    parser = make_parser(
        "report",
        "Write what `compare` prints, and more, as a folder: report.html (one file that asks "
        "nothing of the network: summary, tables, curves, completeness, confusion, samples with "
        "what was erased of them, provenance), Markdown, LaTeX, CSV, figures as PNG and PDF.",
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="folders that evaluate wrote")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--metric", default="mae", help="the score to compare")
    parser.add_argument("--against", metavar="NAME", help="test all models against this one only")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    return parser


def command(argv: Sequence[str]) -> int:
    """Writes a report and prints what it says."""
    given = parse(_parser(), argv)
    try:
        from lnln_dist.evaluate.contents import open_contents
        from lnln_dist.report.terminal import show
        from lnln_dist.report.write import PAGE, write
    except ImportError as err:
        raise UserError(f"report needs {str(err.name).split('.')[0]}: {install('report')}") from err

    target = Path(given["output"])
    found = write(
        [Path(folder) for folder in given["results"]],
        target,
        metric=given["metric"],
        against=given["against"],
        open_data=open_contents,
        command=shlex.join(["lnln-dist", "report", *argv]),
        overwrite=given["overwrite"],
    )
    show(found)
    print(f"{target / PAGE}")
    return 0
