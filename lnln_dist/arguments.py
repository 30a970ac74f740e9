"""The command line: parsers whose errors are one line, every setting as a dotted option."""

import argparse
import dataclasses
import difflib
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings
from jsonargparse._actions import _ActionConfigLoad
from jsonargparse._typehints import ActionTypeHint

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import ConfigError
from lnln_dist.specs.registry import DEFAULT, config_class


def _shorter(text: str) -> str:
    """A parser's error without names of types and the list of what was tried."""
    text = re.sub(r'^"([\w.]+)":', r"\1:", text)
    text = re.sub(r"\d+ validation errors? for \S+ ", "", text)
    text = re.sub(r" \[type=.*?\](?: For further information visit [^ ]*\w)?", "", text)
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text).replace("typing.Literal[", "one of [")
    text = text.replace("Expected a ", "expected ").replace("Input should", "should")
    key, tried, rest = text.partition(" Does not validate against any of the Union subtypes")
    if not tried:
        return text
    _, _, reasons = rest.partition(" Errors: - ")
    reasons, _, value = reasons.partition(" Given value type: ")
    kept = [reason for reason in reasons.split(" - ") if reason != "expected NoneType"]
    return f"{key} {'; '.join(kept)}, got {value.partition('Given value: ')[2]}"


def _respelled(word: str, known: Collection[str]) -> str:
    """A word of a command line, the old name of an option replaced by its new one."""
    name, equals, value = word.partition("=")
    new = "--output" if name == "--out" else name.replace("_", "-")
    old = name.startswith("--") and name not in known and new in known
    return f"{new}{equals}{value}" if old else word


def _near(word: str, options: Sequence[str]) -> list[str]:
    """The options that a word may mean: without a dot, those whose last part is like it."""
    if "." in word:
        return difflib.get_close_matches(word, options, n=1)
    last = {option: re.split(r"\.|^--?", option)[-1] for option in options}
    found = difflib.get_close_matches(word[2:], last.values(), n=1)
    return [option for option in options if [last[option]] == found]


def _readable(hint: Any) -> str:
    """A setting's type in words; empty where the option shows its choices."""
    arguments = get_args(hint)
    origin = get_origin(hint)
    if origin is Annotated:
        return _readable(arguments[0])
    if origin in (Union, UnionType):
        inner = [a for a in arguments if a is not NoneType]
        words = [_readable(a) or ", ".join(map(str, get_args(a))) for a in inner]
        return " or ".join([*words, *(["null"] if NoneType in arguments else [])])
    if origin is tuple:
        several = Ellipsis in arguments
        inside = [_readable(a) for a in arguments if a is not Ellipsis]
        return f"list of {inside[0]}" if several else f"[{', '.join(inside)}]"
    if origin is Literal or hint is bool:
        return ""
    named: str = getattr(hint, "__name__", str(hint))
    return {dict: "mapping", list: "list"}.get(origin, named)


class _Help(DefaultHelpFormatter):
    """Help with types in words, and defaults where they say something."""

    def _get_help_string(self, action: argparse.Action) -> str:
        if isinstance(action, argparse._HelpAction):
            return "show this help and exit"
        notes = [self._get_type_str(action)] if isinstance(action, ActionTypeHint) else []
        unset = action.default in (None, argparse.SUPPRESS, []) or action.default is False
        if "." in action.dest or not unset:
            notes.append("" if isinstance(action, _ActionConfigLoad) else "default: %(default)s")
        noted = "; ".join(filter(None, notes))
        return f"{action.help or ''}{f' ({noted})' if noted else ''}"

    def _get_type_str(self, action: argparse.Action) -> str | None:
        hint = action._typehint if isinstance(action, ActionTypeHint) else action.type
        return None if hint is None else _readable(hint)


class Parser(ArgumentParser):
    """An argument parser without abbreviations whose errors are one line.

    Settings are dotted and spelled as in the YAML; every other option has dashes. What options
    were called before (underscores, ``--out``) is still taken.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, formatter_class=_Help, **kwargs)
        self.layers: list[settings.Layer] = []
        """The files of ``--config``, see ``add_config_arguments``."""

    def parse_args(self, args: Any = None, *rest: Any, **choices: Any) -> Any:
        """As ``ArgumentParser.parse_args``, old spellings included."""
        known = {o for a in self._actions for o in a.option_strings}
        words = sys.argv[1:] if args is None else args
        return super().parse_args([_respelled(w, known) for w in words], *rest, **choices)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raises instead of printing usage."""
        text = _shorter(" ".join(str(message).split()).replace("Parser key ", ""))
        options = [o for a in self._actions for o in a.option_strings]
        for word in re.findall(r"--[\w.-]+", text) if "unrecognized" in text else []:
            near = _near(word, options)
            text += f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"{text} (see {self.prog} --help)") from ex


def add_config_arguments(parser: Parser, argv: Sequence[str] = ()) -> None:
    """Adds ``--config``, ``--print-config`` and every setting as a dotted option with its help.

    Args:
        parser: to add to.
        argv: the command line, which decides whose settings ``model`` and ``loss`` hold.

    Raises:
        ConfigError: the command line or a file names a model that does not exist.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file of settings; repeat to lay one over the other",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved settings and exit"
    )
    parser.layers, name = _scouted(argv)
    parser.add_class_arguments(config_class(name))
    for action in parser._actions:
        if isinstance(action, _ActionConfigLoad):
            action.help = f"YAML file of the settings of {action.dest}"


def _scouted(argv: Sequence[str]) -> tuple[list[settings.Layer], str]:
    """The files of a command line, read, and the model that it or they choose."""
    scout = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scout.add_argument("--config", action="append", default=[])
    scout.add_argument("--model.name", dest="name")
    try:
        found, _ = scout.parse_known_args(argv)
    except argparse.ArgumentError:  # the real parser tells what is wrong
        return [], DEFAULT
    layers = [layer for path in found.config for layer in settings.layers_of(Path(path))]
    names = [found.name, *(settings.model_name(raw) for _, raw in reversed(layers)), DEFAULT]
    return layers, next(str(name) for name in names if name is not None)


def from_arguments(parser: Parser, arguments: Mapping[str, Any]) -> Config:
    """Parsed options (without defaults) -> config: the files in order, then the overrides."""
    names = {field.name for field in dataclasses.fields(Config)}
    above = {key: value for key, value in arguments.items() if key in names}
    return settings.build(
        settings.lay(settings.merged(parser.layers, settings.model_name(above)), above)
    )
