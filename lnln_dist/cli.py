"""``lnln-dist VERB``: finds the verb and hands it its arguments.

Nothing heavy is imported before the verb's own arguments are known to be right.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from lnln_dist import __version__, console
from lnln_dist.errors import UserError


class Verb(NamedTuple):
    """A subcommand: one line of help and the module whose ``command(argv)`` runs it."""

    module: str
    help: str


VERBS = {
    "synthesize": Verb("lnln_dist.commands.synthesize", "write a synthetic MMSA-format corpus"),
    "extract": Verb("lnln_dist.commands.extract", "turn raw clips and a label file into shards"),
    "prepare": Verb("lnln_dist.commands.prepare", "turn an MMSA feature pickle into shards"),
    "verify": Verb("lnln_dist.commands.verify", "check prepared shards, or name the damaged one"),
    "train": Verb("lnln_dist.train.__main__", "train (as `accelerate launch -m lnln_dist.train`)"),
    "sweep": Verb("lnln_dist.commands.sweep", "run a study of settings x seeds on Ray"),
    "evaluate": Verb("lnln_dist.commands.evaluate", "score runs at every missing rate"),
    "compare": Verb("lnln_dist.commands.compare", "test models against each other, with intervals"),
    "report": Verb("lnln_dist.commands.report", "write a comparison as a page, tables and figures"),
    "predict": Verb("lnln_dist.commands.predict", "write a run's predictions for some data"),
    "reproduce": Verb("lnln_dist.commands.reproduce", "evaluate again and compare the numbers"),
    "export": Verb("lnln_dist.commands.export", "write a trained model as one folder"),
    "import-checkpoint": Verb(
        "lnln_dist.commands.import_checkpoint", "turn a checkpoint of the released code into a run"
    ),
    "doctor": Verb("lnln_dist.doctor.__main__", "check machine, launch, data and memory"),
}


def usage() -> str:
    """The top-level help."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items())
    return f"""usage: lnln-dist VERB [options]      (or python -m lnln_dist VERB)

Robust multimodal sentiment analysis with incomplete data.

verbs:
{verbs}

`lnln-dist VERB --help` lists a verb's options. Every verb takes --debug, which shows the
traceback of an error. `lnln-dist --version` prints the version.
"""


def dispatch(argv: Sequence[str]) -> int | None:
    """Runs the verb named first in ``argv``."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"lnln_dist {__version__}")
        return 0
    name, *rest = argv
    if name not in VERBS:
        import difflib

        near = difflib.get_close_matches(name, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(VERBS)}"
        raise UserError(f"unknown verb {name!r}: {hint}")
    module = importlib.import_module(VERBS[name].module)
    code: int | None = module.command(rest)
    return code


def main() -> int:
    """Entry point of the console command."""
    # Nothing here talks to a usage-statistics service.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return console.finish(dispatch, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
