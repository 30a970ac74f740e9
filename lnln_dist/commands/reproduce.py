"""``lnln-dist reproduce``."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lnln_dist.commands import make_parser, parse

DIFFERENT = 1  # exit code


def command(argv: Sequence[str]) -> int:
    """Evaluates again and compares; 0 if every number is reproduced, else 1."""
    parser = make_parser(
        "reproduce",
        "Run an evaluation again, from its runs and data, and compare number by number: bit for "
        "bit where it was made on the CPU and nothing has changed, else within --tolerance.",
    )
    parser.add_argument("results", metavar="RESULTS", help="folder that evaluate wrote")
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        metavar="RUN",
        help="where its runs are now, in their order; repeatable",
    )
    parser.add_argument("--data", metavar="DIR", help="where its data is now")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="allowed difference of predictions, MAE and correlation where machine, versions or "
        "code have changed (scores that count: two samples beside it)",
    )
    parser.add_argument("--output", metavar="DIR", help="keep the new evaluation there")
    given = parse(parser, argv)
    from lnln_dist.share import reproduce

    results = Path(given["results"])
    first = reproduce.read_summary(results)
    runs = [Path(run) for run in given["run"]]
    placed = reproduce.place(first, runs, given["data"])
    with tempfile.TemporaryDirectory() as folder:
        again = Path(given["output"] or f"{folder}/again")
        _evaluate(placed, again)
        changed = reproduce.changed(first, reproduce.read_summary(again))
        exact = first["made_on"]["device"] == "cpu" and not changed
        found = reproduce.differences(
            results, again, tolerance=0.0 if exact else given["tolerance"]
        )
    return _report(found, first, changed)


def _evaluate(summary: dict[str, Any], output: Path) -> None:
    """With the protocol as it is stored, whatever its name or file means today."""
    import torch

    from lnln_dist.evaluate.registry import protocol_in
    from lnln_dist.evaluate.robust import evaluate_runs
    from lnln_dist.runtime import Runtime

    torch.set_num_threads(summary["made_on"]["threads"])
    places = {record["data"] for record in summary["runs"]}
    runtime = Runtime(cpu=True if summary["made_on"]["device"] == "cpu" else None)
    try:
        evaluate_runs(
            [Path(record["folder"]) for record in summary["runs"]],
            output=output,
            runtime=runtime,
            data=places.pop() if len(places) == 1 else None,  # else each run's own
            split=summary["split"],
            protocol=protocol_in(summary),
            checkpoint=summary["asked"]["checkpoint"],
            batch_size=summary["asked"]["batch_size"],
            progress=True,
            wanted=summary["asked"],
        )
    finally:
        runtime.close()


def _report(found: Sequence[Any], summary: dict[str, Any], changed: Sequence[str]) -> int:
    print(summary["command"])
    for line in changed:
        print(f"changed: {line}")
    print(
        f"{'run':<20} {'number of':<16} {'compared':>9} {'other':>9} {'largest':>9} {'allowed':>9}"
    )
    for one in found:
        print(
            f"{one.run:<20} {one.what:<16}{one.numbers:>10}{one.other:>10}{one.largest:>10.2g}"
            f"{one.allowed:>10.2g}{'' if one.holds else '  DIFFERS'}"
        )
    failed = [one for one in found if not one.holds]
    total = sum(one.numbers for one in found)
    how = "bit for bit" if not any(one.other for one in found) else "within what is allowed"
    print(
        f"{len(failed)} of {len(found)} kinds of numbers differ by more than is allowed"
        if failed
        else f"all {total} numbers are reproduced {how}"
    )
    return DIFFERENT if failed else 0
