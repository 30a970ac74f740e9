"""``lnln-dist sweep`` and ``lnln-dist sweep show``."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lnln_dist.arguments import Parser
from lnln_dist.commands import make_parser, parse
from lnln_dist.errors import ConfigError, TrainingError


def _parser() -> Parser:
    parser = make_parser(
        "sweep",
        "Run a study: settings screened on few seeds with early stopping, the best confirmed on "
        "all seeds. `lnln-dist sweep show DIR` prints a sweep's summary at any time.",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML of the sweep (--resume alone takes it as it was)"
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the sweep (required)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the YAML, such as confirm.best=3 or "
        "settings.train.epochs=3; repeatable",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the settings and the expected cost, then stop"
    )
    parser.add_argument(
        "--seconds-per-epoch", type=float, help="adds the expected time to --dry-run"
    )
    parser.add_argument(
        "--resolve",
        action="store_true",
        help="print the sweep with its config files merged in and absolute paths, then stop",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the sweep in --output, or add the YAML's new settings and seeds to it",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="resume, and try failed trials again"
    )
    parser.add_argument(
        "--address", help="Ray cluster (default: RAY_ADDRESS, else a cluster of this machine)"
    )
    parser.add_argument("--cpus", type=int, help="cores of a cluster of this machine")
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long to wait for a growing cluster until a trial fits",
    )
    return parser


def _show(argv: Sequence[str]) -> int:
    parser = make_parser("sweep show", "Print a sweep's summary and bring its files up to date.")
    parser.add_argument("dir", metavar="DIR", help="--output of the sweep")
    given = parse(parser, argv)
    from lnln_dist.sweep import session

    sys.stdout.write(session.show(Path(given["dir"])))
    return 0


def _check(given: Mapping[str, Any]) -> None:
    """Refuses options that would be without effect."""
    if not given["config"]:
        raise ConfigError("--config is missing: name the sweep's YAML (see configs/sweep_*.yaml)")
    if given["dry_run"] and given["resolve"]:
        raise ConfigError(
            "--dry-run lists a sweep and --resolve (which launch/ray/submit.sh adds) prints it: "
            "give one of them"
        )
    if given["seconds_per_epoch"] is not None and not given["dry_run"]:
        raise ConfigError(
            "--seconds-per-epoch has a meaning with --dry-run only: add that, or leave it out"
        )
    for name in ("cpus", "seconds_per_epoch"):
        if given[name] is not None and given[name] <= 0:
            raise ConfigError(f"--{name.replace('_', '-')} {given[name]:g} must be greater than 0")
    where = "--address" if given["address"] else "RAY_ADDRESS"
    if given["cpus"] is not None and (given["address"] or os.environ.get("RAY_ADDRESS")):
        raise ConfigError(
            f"--cpus is for a cluster of this machine, but {where} names one that runs: leave one "
            "of them out"
        )


def _with_kept_config(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A sweep resumed without its YAML is taken as it was started, ``--set`` included."""
    if given["config"] or not given["output"] or not (given["resume"] or given["retry_failed"]):
        return given
    kept = Path(given["output"]) / "sweep.yaml"
    return {**given, "config": str(kept)} if kept.is_file() else given


def command(argv: Sequence[str]) -> int:
    """Runs a sweep, or shows one."""
    if argv and argv[0] == "show":
        return _show(argv[1:])
    given = _with_kept_config(parse(_parser(), argv))
    _check(given)
    from lnln_dist.sweep import session, space, study

    sweep = session.frozen(Path(given["config"]), given["set"])
    if given["dry_run"] or given["resolve"]:
        made = space.resolve(sweep)
        text = study.dump(sweep)
        if given["dry_run"]:
            text = session.describe(made, seconds_per_epoch=given["seconds_per_epoch"]) + "\n"
        sys.stdout.write(text)
        return 0
    if not given["output"]:
        raise ConfigError("--output is missing: name the folder of the sweep")
    done = session.run(
        sweep,
        Path(given["output"]),
        resume=given["resume"],
        retry_failed=given["retry_failed"],
        address=given["address"],
        cpus=given["cpus"],
        wait_s=given["wait"],
    )
    print(done.summary.read_text(encoding="utf-8"))
    print(f"{done.summary.parent}: summary.md, summary.csv, sweep.csv, figures/, winner/")
    if done.barren:
        where = "" if done.barren == ["all"] else f" in {', '.join(done.barren)}"
        raise TrainingError(
            f"no setting came through{where}: the failures stand first in "
            f"{done.summary}; mend their cause and go on with --retry-failed"
        )
    return 0
