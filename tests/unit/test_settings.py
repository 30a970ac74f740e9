"""Config files, overrides, errors and hashes."""

from pathlib import Path

import pytest

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import ConfigError
from lnln_dist.specs.registry import make_config


def parse(*argv: str) -> Config:
    parser = settings.Parser(prog="lnln-dist train")
    settings.add_config_arguments(parser, argv)
    return settings.from_arguments(parser.parse_args(list(argv), defaults=False).as_dict())


def test_base_files_are_laid_below(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("optim: {lr: 1e-3, clip_norm: 0}\ntrain: {epochs: 5}\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\noptim: {lr: 2e-3}\n")
    config = parse("--config", str(tmp_path / "b.yaml"), "--train.seed", "7")
    assert (config.optim.lr, config.optim.clip_norm) == (2e-3, 0)
    assert (config.train.epochs, config.train.seed) == (5, 7)


def test_later_config_wins(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("train: {epochs: 5, seed: 1}")
    (tmp_path / "b.yaml").write_text("train: {epochs: 6}")
    config = parse("--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml"))
    assert (config.train.epochs, config.train.seed) == (6, 1)


def test_a_file_that_is_its_own_base(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    with pytest.raises(ConfigError, match="its own base"):
        settings.read_config(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: {epoch: 5}", "train.epoch: unknown key; did you mean train.epochs?"),
        ("zzz: 1", "zzz: unknown key; see lnln-dist train --help"),
        ("train: {epochs: five}", "train.epochs: .*got 'five'"),
        ("train: {epochs: 5.5}", "train.epochs: .*got 5.5"),
        ("train: {epochs: true}", "train.epochs: .*got True"),
        ("noise: {clean_share: 1.2}", "noise.clean_share: .*less than or equal to 1, got 1.2"),
        ("noise: {mode: fixed}", "noise: mode fixed needs a rate for text"),
        ("noise: {rate: 0.5}", "noise: rate has no effect in mode uniform"),
        ("model: {heads: 7}", "model: heads 7 must divide width 128"),
        ("model: {mask_padding: false}", "data.padding: batch needs model.mask_padding"),
        ("train: {micro_batch: 65}", "train.micro_batch 65 exceeds train.batch_size 64"),
        ("optim: {lr: .nan}", "optim.lr"),
        ("train: 3", "train: expected a mapping, got 3"),
        ("train:", "train: expected a mapping, got None|section is empty"),
        ("- 1", "expected a mapping of settings"),
        ("a: [", "not valid YAML"),
        ("train: {seed: 1, seed: 2}", "repeated key seed"),
        ("base: 3", "base: expected a file name"),
        ("select: {rates: []}", "select.rates"),
        ("train: {epochs: 2020-01-01}", "train.epochs: .*got '2020-01-01'"),
        ("{train.seed: 1, train: {seed: 2}}", "train.seed: given twice, nested and dotted"),
    ],
)
def test_a_bad_file_is_one_line_naming_the_key(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        parse("--config", str(tmp_path / "c.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--train.epoch", "5"], "did you mean --train.epochs"),
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


def test_per_modality_noise_inherits() -> None:
    config = parse("--noise.clean_share", "0.25", "--noise.text.maximum", "0.5")
    assert config.noise.of("text").maximum == 0.5
    assert config.noise.of("audio").maximum == 1.0
    assert config.noise.of("text").clean_share == 0.25


def test_dump_reads_back_equal(tmp_path: Path) -> None:
    config = parse("--select.rates", "[0.1,0.5]", "--model.encoder.name", "tiny")
    (tmp_path / "c.yaml").write_text(settings.dump(config))
    assert parse("--config", str(tmp_path / "c.yaml")) == config


def test_hash_follows_what_is_computed_and_nothing_else() -> None:
    base = settings.config_hash(make_config())
    assert base == "2595db283341"  # of 8dd0cef: runs and trials are known by it
    assert settings.config_hash(parse("--data.workers", "4", "--train.log_steps", "1")) == base
    for key in settings.leaf_keys():
        assert (key in settings.BOOKKEEPING) or key.split(".")[0] in (
            "data", "noise", "model", "loss", "optim", "train", "select",
        )  # fmt: skip
    changed = [
        parse("--loss.adversarial", "0.7"),
        parse("--train.seed", "2"),
        parse("--noise.text.maximum", "0.9"),
        parse("--select.metric", "corr"),
    ]
    assert len({settings.config_hash(c) for c in changed} | {base}) == 5


def test_settings_that_came_later_are_hashed_unless_they_change_nothing() -> None:
    flat = settings.flatten(settings.to_dict(make_config()))
    assert {key: flat[key] for key in settings.LATER} == settings.LATER
    base = settings.config_hash(make_config())
    assert settings.config_hash(parse("--train.order", "alternating")) != base


def test_bookkeeping_names_real_settings() -> None:
    assert set(settings.leaf_keys()) >= settings.BOOKKEEPING


def test_differences_name_the_dotted_keys() -> None:
    new = parse("--optim.lr", "0.01", "--data.workers", "3")
    assert settings.differences(make_config(), new) == {"optim.lr": (1e-4, 0.01)}


LAID_BELOW = "model: {width: 64, fusion_depth: 2}\nloss: {adversarial: 0.6}\noptim: {lr: 1e-3}\n"


def test_another_model_takes_what_it_knows_of_a_file_and_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LAID_BELOW)
    file = ("--config", str(tmp_path / "a.yaml"))
    config = parse(*file, "--model.name", "text", "--loss.sentiment", "2.0")
    assert (config.model.name, config.model.width, config.optim.lr) == ("text", 64, 1e-3)
    assert settings.flatten(settings.to_dict(config)).keys() == set(settings.leaf_keys("text"))
    assert config.loss.sentiment == 2.0
    (tmp_path / "b.yaml").write_text("base: a.yaml\nmodel: {name: text, tokens: 4}")
    assert parse("--config", str(tmp_path / "b.yaml")).model.tokens == 4
    assert parse(*file).model.fusion_depth == 2


@pytest.mark.parametrize(
    ("text", "argv", "message"),
    [
        (
            "model: {name: text, fusion_depth: 2}",
            (),
            r"c.yaml: model.fusion_depth: unknown key of model text; did you mean",
        ),
        ("loss: {energy: 2}", ("--model.name", "text"), "c.yaml: loss.energy: unknown key"),
        ("", ("--model.name", "text", "--model.fusion_depth", "2"), "fusion_depth"),
        ("", ("--model.name", "txt"), "model.name: there is no model 'txt'"),
        ("model: {name: 3}", (), "model.name: expected a name, got 3"),
        ("model: {name: text}", ("--noise.audio.maximum", "0.5"), "noise.audio.maximum has no eff"),
        ("noise: {completeness: counted}", ("--model.name", "text"), "noise.completeness has no"),
    ],
)
def test_a_setting_of_another_model_is_one_line(
    text: str, argv: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        parse("--config", str(tmp_path / "c.yaml"), *argv)
    assert "\n" not in str(caught.value)


def test_help_shows_the_chosen_models_settings() -> None:
    for name, own, other in (
        ("lnln", "--model.fusion_depth", "--model.hidden"),
        ("own_model:SPEC", "--model.hidden", "--model.fusion_depth"),
    ):
        parser = settings.Parser(prog="lnln-dist train")
        settings.add_config_arguments(parser, ["--model.name", name])
        text = parser.format_help()
        assert own in text
        assert other not in text
        assert "Dropout inside the encoder" in text
        assert ("Width of the hidden layer." in text) == (name != "lnln")
        assert ("alpha, mean squared error" in text) == (name == "lnln")
