"""``lnln-dist verify``."""

import sys
from collections.abc import Sequence

from lnln_dist.commands import make_parser, parse


def command(argv: Sequence[str]) -> int:
    """Checks prepared data; exit code 1 if something is wrong with it."""
    parser = make_parser(
        "verify",
        "Hash and read prepared data again; name what is damaged, features whose scale will "
        "trouble a training, and splits whose labels lie elsewhere than the training split's.",
    )
    parser.add_argument("folder", metavar="DIR", help="folder written by prepare")
    given = parse(parser, argv)
    from lnln_dist.data.measure import measured
    from lnln_dist.data.summary import describe
    from lnln_dist.data.verify import verify

    findings = verify(given["folder"])
    for finding in findings:
        print(f"damaged: {finding}", file=sys.stderr)
    if findings:
        print(
            f"{given['folder']}: {len(findings)} problem(s); copy the named files again or run "
            "prepare anew with --overwrite",
            file=sys.stderr,
        )
        return 1
    print(describe(measured(given["folder"])))
    print("all hashes, counts and values are right")
    return 0
