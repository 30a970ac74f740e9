"""Options and their help; mistakes on the command line."""

import pytest
from parsing import parse

from lnln_dist import arguments
from lnln_dist.errors import ConfigError


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--train.epoch", "5"], "did you mean --train.epochs"),
        (["--seed", "5"], "did you mean --noise.seed or --train.seed"),
        (["--sead", "5"], r"did you mean --noise.seed or --train.seed\?"),
        (["--batchsize", "5"], "did you mean --train.batch_size or --select.batch_size"),
        (["--confg", "x.yaml"], r"did you mean --config\?"),
        (["--xyzzy", "5"], r"arguments: --xyzzy 5 \(see"),
        (["--train.epochs", "x"], "train.epochs"),
        (["--optim.schedule", "linear"], "optim.schedule"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such config file"),
        (
            ["--noise.text.rate", "1.5", "--noise.text.mode", "fixed"],
            r"^noise.text.rate: should be less than or equal to 1, got 1.5 \(see",
        ),
        (["--noise.text.mode", "x"], r"^noise.text.mode: expected one of .*fixed.*, got x \(see"),
        (["--train.micro_batch", "x"], "^train.micro_batch: should be a valid integer.*, got x"),
        (["--select.rates", "[0, 2]"], r"^select.rates: should be less .* to 1. Got value: 2 \("),
    ],
)
def test_a_bad_option_is_one_line_naming_it(argv: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


def test_help_shows_the_chosen_models_settings() -> None:
    for name, own, other in (
        ("lnln", "--model.fusion_depth", "--model.hidden"),
        ("own_model:SPEC", "--model.hidden", "--model.fusion_depth"),
    ):
        parser = arguments.Parser(prog="lnln-dist train")
        arguments.add_config_arguments(parser, ["--model.name", name])
        text = parser.format_help()
        assert own in text
        assert other not in text
        assert "Dropout inside the encoder" in text
        assert ("Width of the hidden layer." in text) == (name != "lnln")
        assert ("alpha, mean squared error" in text) == (name == "lnln")


def test_help_is_for_people() -> None:
    parser = arguments.Parser(prog="lnln-dist train")
    parser.add_argument("--cpu", action="store_true", help="on the CPU")
    parser.add_argument("--loaders", type=int, default=0, help="processes")
    arguments.add_config_arguments(parser, [])
    text = " ".join(parser.format_help().split())
    for odd in ("FieldInfo", "Annotated", "Optional", "Literal", "Path to a configuration", "[]"):
        assert odd not in text
    for part in (
        "show this help and exit",
        "on the CPU --loaders LOADERS processes (int; default: 0) --config",
        "--data CONFIG YAML file of the settings of data",
        "follows `train.seed`. (int or null; default: null)",
        "As `noise.mode`. (uniform, fixed or null; default: null)",
        "Missing rates of the fixed noise grid scored after each epoch. (list of float; default: ",
        "traced into RUN/profile; null: none. ([int, int] or null; default: null)",
        "(released code). (default: batch)",
    ):
        assert part in text
