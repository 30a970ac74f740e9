"""``lnln-dist compare``."""

from collections.abc import Sequence
from pathlib import Path

from lnln_dist.arguments import Parser
from lnln_dist.commands import make_parser, parse
from lnln_dist.errors import ConfigError, UserError, install


def _parser() -> Parser:
    parser = make_parser(
        "compare",
        "Compare the models of one or more evaluations: means over training and noise seeds with "
        "95 % intervals, robustness, paired tests with Holm's correction, and what holds in "
        "words, on the terminal (`report` writes the same as files). Runs that differ in the "
        "training seed alone count as one model. A .csv file of published scores is checked for "
        "swapped F1 and constant predictors instead.",
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS", help="folders that evaluate wrote, or a .csv file"
    )
    parser.add_argument("--metric", default="mae", help="the score to compare")
    parser.add_argument("--against", metavar="NAME", help="test all models against this one only")
    return parser


def command(argv: Sequence[str]) -> int:
    """Prints a comparison."""
    given = parse(_parser(), argv)
    paths = [Path(path) for path in given["results"]]
    files = [path for path in paths if path.suffix == ".csv"]
    if files:
        if len(files) < len(paths) or given["against"]:
            raise ConfigError(
                f"{files[0]}: published scores are only checked; give .csv files alone"
            )
        return _check(files)
    try:
        from lnln_dist.report.comparison import compare
        from lnln_dist.report.terminal import show
    except ImportError as err:
        raise UserError(
            f"compare needs {str(err.name).split('.')[0]}: {install('report')}"
        ) from err

    show(compare(paths, given["metric"], given["against"]))
    return 0


def _check(files: Sequence[Path]) -> int:
    from lnln_dist.report.published import check, load_scores

    for file in files:
        findings = check(load_scores(file))
        for row, kind, text in findings:
            print(f"{file}: {row}: {kind}: {text}")
        if not findings:
            print(f"{file}: no sign of swapped F1 or of a constant predictor")
    return 0
