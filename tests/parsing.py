"""A command line of settings, parsed."""

from lnln_dist import arguments
from lnln_dist.config import Config


def parse(*argv: str) -> Config:
    parser = arguments.Parser(prog="lnln-dist train")
    arguments.add_config_arguments(parser, argv)
    return arguments.from_arguments(parser, parser.parse_args(list(argv), defaults=False).as_dict())
