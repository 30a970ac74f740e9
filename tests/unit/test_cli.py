"""The verbs, and one way to spell their options."""

import re

import pytest

from lnln_dist.arguments import Parser
from lnln_dist.cli import VERBS, dispatch
from lnln_dist.commands import evaluate, sweep
from lnln_dist.errors import ConfigError, UserError


@pytest.mark.parametrize("verb", VERBS)
def test_settings_are_dotted_with_underscores_and_options_have_dashes(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        dispatch([verb, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "%%" not in shown and not re.search(r"\(default \S+\)", " ".join(shown.split()))
    options = set(re.findall(r"^ +(--[\w.-]+)", shown, re.M))
    assert "--debug" in options and "--out" not in options
    settings = {option for option in options if "." in option}
    assert bool(settings) == (verb in ("train", "doctor"))
    assert not [option for option in settings if "-" in option[2:]]
    assert not [option for option in options - settings if "_" in option]


def test_what_options_were_called_before_is_still_taken() -> None:
    made = evaluate._parser().parse_args(["run", "--out", "x", "--batch_size=3"])
    assert (made.output, made.batch_size) == ("x", 3)
    words = ["--dry_run", "--retry_failed", "--seconds_per_epoch", "2.5", "--output", "_a_"]
    made = sweep._parser().parse_args(words)
    assert (made.dry_run, made.retry_failed, made.seconds_per_epoch) == (True, True, 2.5)
    assert made.output == "_a_"


def test_an_option_that_never_was_gets_the_nearest_as_a_hint() -> None:
    parser = Parser(prog="x")
    parser.add_argument("--batch-size", type=int)
    with pytest.raises(ConfigError, match="did you mean --batch-size"):
        parser.parse_args(["--batch-sizes", "3"])
    with pytest.raises(ConfigError, match="unrecognized"):
        parser.parse_args(["--out", "3"])  # there is no --output either


def test_an_unknown_verb_gets_the_nearest_as_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean predict"):
        dispatch(["predikt"])
