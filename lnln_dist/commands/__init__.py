"""One module per verb: its options and what it prints; the work is done elsewhere."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from lnln_dist import arguments
from lnln_dist.errors import ConfigError


def make_parser(verb: str, description: str) -> arguments.Parser:
    """A verb's parser with the options that every verb has."""
    parser = arguments.Parser(prog=f"lnln-dist {verb}", description=description)
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error instead of one line"
    )
    return parser


def parse(parser: arguments.Parser, argv: Sequence[str]) -> dict[str, Any]:
    """Options as a plain dict, defaults filled in."""
    values: dict[str, Any] = parser.parse_args(list(argv)).as_dict()
    return values


def add_options(parser: arguments.Parser, kind: Any) -> None:
    """An option for each field of a dataclass that was made by ``config.option``."""
    for field in fields(kind):
        if field.metadata:
            parser.add_argument(f"--{field.name.replace('_', '-')}", **field.metadata)


def taken(given: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """The values of a dataclass's options."""
    return {field.name: given[field.name] for field in fields(kind) if field.metadata}


def add_dataset(parser: arguments.Parser) -> None:
    """The options that name a data set, for ``find_preset`` to judge."""
    # Python 3.11 takes -1e1 and -inf for options.
    parser._negative_number_matcher = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)
    parser.add_argument(
        "--dataset",
        required=True,
        help="mosi, mosei, sims, demo, or an own name with --family and --label-range",
    )
    parser.add_argument(
        "--family", choices=["mosi", "sims"], help="how an own data set's scores are computed"
    )
    parser.add_argument(
        "--label-range", nargs=2, type=number, metavar=("LOW", "HIGH"), help="of an own data set"
    )


def number(text: str) -> float:
    """Any number, infinite ones and NaN too."""
    return float(text)


def dataset(given: Mapping[str, Any]) -> dict[str, Any]:
    """What ``add_dataset`` asked for, as arguments of ``find_preset``."""
    label_range = given["label_range"]
    return {
        "dataset": given["dataset"],
        "family": given["family"],
        "label_range": tuple(label_range) if label_range else None,
    }


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
