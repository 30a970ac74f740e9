"""The training program: ``accelerate launch -m lnln_dist.train --config ...``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lnln_dist import arguments, console, settings
from lnln_dist.data.damage import witnessed
from lnln_dist.errors import ConfigError
from lnln_dist.train.leaving import Notice, watching_launcher


def make_parser(prog: str = "lnln-dist train", argv: Sequence[str] = ()) -> arguments.Parser:
    """Options of the training program, with the settings of the model that ``argv`` chooses."""
    parser = arguments.Parser(
        prog=prog,
        description="Train the model that --model.name chooses, LNLN by default; also run as "
        "`accelerate launch -m lnln_dist.train`.",
    )
    parser.add_argument("--output", metavar="DIR", help="run folder to write (required)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest checkpoint in --output, or start if there is none",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the run that --output holds"
    )
    parser.add_argument(
        "--cpu", action="store_true", help="train on the CPU even if there is a GPU"
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error instead of one line"
    )
    arguments.add_config_arguments(parser, argv)
    return parser


def command(argv: Sequence[str]) -> int:
    """Parses, then trains; torch is imported only once the settings are known to be right."""
    # Imports, data and the meeting of the ranks take a while: a notice must not be lost meanwhile.
    with Notice().listening() as notice, watching_launcher(notice):
        return _command(argv, notice)


def _command(argv: Sequence[str], notice: Notice) -> int:
    parser = make_parser(argv=argv)
    given = parser.parse_args(list(argv), defaults=False).as_dict()
    config = arguments.from_arguments(parser, given)
    if given.get("print_config"):
        sys.stdout.write(settings.dump(config))
        return 0
    if not given.get("output"):
        raise ConfigError("--output is missing: name the run folder to write")
    if given.get("resume") and given.get("overwrite"):
        raise ConfigError("--resume goes on with a run, --overwrite removes it: drop one of them")
    from lnln_dist.train.program import run

    with witnessed(config.data.path):
        result = run(
            config,
            Path(given["output"]),
            resume=given.get("resume", False),
            overwrite=given.get("overwrite", False),
            cpu=True if given.get("cpu") else None,
            notice=notice,
        )
    state = result.state
    if state.best and os.environ.get("RANK", "0") == "0":
        print(
            f"{result.folder}: {state.step} steps, best {config.select.split} "
            f"{config.select.metric} {state.best['best']:.4f} in epoch {state.best_epoch['best']}, "
            f"{state.seconds:.0f} s of training, peak memory {result.peak_gib:.2f} GiB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(console.finish(command, sys.argv[1:]))
