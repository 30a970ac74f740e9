"""One module per verb: its options and what it prints; the work is done elsewhere."""

from collections.abc import Sequence
from typing import Any

from lnln_dist import settings
from lnln_dist.errors import ConfigError


def make_parser(verb: str, description: str) -> settings.Parser:
    """A verb's parser with the options that every verb has."""
    parser = settings.Parser(prog=f"lnln-dist {verb}", description=description)
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error instead of one line"
    )
    return parser


def parse(parser: settings.Parser, argv: Sequence[str]) -> dict[str, Any]:
    """Options as a plain dict, defaults filled in."""
    values: dict[str, Any] = parser.parse_args(list(argv)).as_dict()
    return values


def triple(text: str | None, option: str) -> tuple[int, int, int] | None:
    """``800,100,100`` -> three whole numbers.

    Raises:
        ConfigError: it is something else.
    """
    if text is None:
        return None
    try:
        train, valid, test = (int(part) for part in text.split(","))
    except ValueError as err:
        raise ConfigError(
            f"{option} {text}: expected three whole numbers such as 800,100,100"
        ) from err
    return train, valid, test


def numbers(text: str | None, option: str, kind: type[int] | type[float]) -> list[Any] | None:
    """``0.0,0.5`` -> numbers.

    Raises:
        ConfigError: a part is not such a number.
    """
    if text is None:
        return None
    try:
        return [kind(part) for part in text.strip("[]").split(",")]
    except ValueError as err:
        what = "whole numbers" if kind is int else "numbers"
        raise ConfigError(f"{option} {text}: expected {what} joined by commas") from err
