"""Config files, overrides, errors and hashes."""

from dataclasses import field, replace
from pathlib import Path

import own_model
import pytest
from parsing import parse
from pydantic.dataclasses import dataclass

from lnln_dist import settings
from lnln_dist.config import STRICT, ModelConfig
from lnln_dist.errors import ConfigError
from lnln_dist.specs.registry import make_config


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Mapped(ModelConfig):
    """With a setting that is a mapping."""

    scales: dict[str, float] = field(default_factory=dict)
    """A scale per modality."""


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
        ("noise: {spans: 2}", "noise: place and spans have no effect in pattern random .text"),
        ("noise: {pattern: block, spans: 65}", "noise.spans: .*less than or equal to 64, got 65"),
        ("noise: {audio: {place: end}}", "noise: place and spans have no effect .*audio"),
        ("noise: {shared: true, audio: {maximum: 0.1}}", "noise: shared gives audio the noise of"),
        ("noise: {shared: true, pattern: modality}", "noise: shared needs places"),
        ("model: {heads: 7}", "model: heads 7 must divide width 128"),
        ("model: {mask_padding: false}", "data.padding: batch needs model.mask_padding"),
        ("train: {micro_batch: 65}", "train.micro_batch 65 exceeds train.batch_size 64"),
        ("optim: {lr: .nan}", "optim.lr"),
        ("train: 3", "train: expected a mapping, got 3"),
        ("train:", "train: expected a mapping, got None|section is empty"),
        ("- 1", "expected a mapping of settings"),
        ("a: [", "not valid YAML"),
        ("a: &a\n  b: *a", "nested too deep .does an alias contain itself"),
        ("a: &a [*a]", "nested too deep"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deep"),
        ("train: {seed: 1, seed: 2}", "repeated key seed"),
        ("base: 3", "base: expected a file name"),
        ("select: {rates: []}", "select.rates"),
        ("select: {rates: [0.1, 0.1]}", "select: rates .0.1, 0.1.: one is given twice"),
        ("select: {noise: official, seeds: [4294967296]}", "select: seeds of noise official"),
        ("train: {epochs: 2020-01-01}", "train.epochs: .*got '2020-01-01'"),
        ("{train.seed: 1, train: {seed: 2}}", "train.seed: given twice, nested and dotted"),
    ],
)
def test_a_bad_file_is_one_line_naming_the_key(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        parse("--config", str(tmp_path / "c.yaml"))
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
            "data", "noise", "task", "model", "loss", "optim", "train", "select",
        )  # fmt: skip
    changed = [
        parse("--loss.adversarial", "0.7"),
        parse("--train.seed", "2"),
        parse("--noise.text.maximum", "0.9"),
        parse("--noise.shared", "true"),
        parse("--noise.pattern", "block"),
        parse("--noise.pattern", "block", "--noise.spans", "2"),
        parse("--noise.pattern", "block", "--noise.vision.place", "end"),
        parse("--select.metric", "corr"),
        parse("--task.kind", "three-class"),
        parse("--task.kind", "three-class", "--task.decision", "argmax"),
    ]
    assert len({settings.config_hash(c) for c in changed} | {base}) == 11


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"task": {"class_weights": "balanced"}}, "class_weights has no effect on kind regression"),
        ({"task": {"decision": "argmax"}}, "decision has no effect on kind regression: drop it"),
        ({"task": {"kind": "two-class"}}, "task.kind: .*three-class"),
        (
            {"task": {"kind": "three-class"}, "select": {"split": "test"}},
            "select.split: test would choose the thresholds.*use task.decision: argmax",
        ),
    ],
)
def test_settings_of_classes_act_or_are_refused(raw: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        settings.build(raw)
    assert "\n" not in str(caught.value)


def test_settings_that_came_later_are_hashed_unless_they_change_nothing() -> None:
    flat = settings.flatten(settings.to_dict(make_config()))
    assert {key: flat[key] for key in settings.LATER} == settings.LATER
    base = settings.config_hash(make_config())
    assert settings.config_hash(parse("--train.order", "alternating")) != base


def test_bookkeeping_names_real_settings() -> None:
    assert set(settings.leaf_keys()) >= settings.BOOKKEEPING | settings.LATER.keys()


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


def test_a_way_back_to_a_model_finds_what_was_said_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LAID_BELOW)
    (tmp_path / "b.yaml").write_text("base: a.yaml\nmodel: {name: text, tokens: 4}")
    (tmp_path / "c.yaml").write_text("base: b.yaml\nmodel: {name: lnln}")
    for argv in (
        ("--config", str(tmp_path / "b.yaml"), "--model.name", "lnln"),
        ("--config", str(tmp_path / "c.yaml")),
    ):
        config = parse(*argv)
        assert (config.model.name, config.model.fusion_depth, config.model.tokens) == ("lnln", 2, 4)
        assert config.loss.adversarial == 0.6
    shared = settings.read_configs([tmp_path / "b.yaml"])
    for name, width in (("text", 64), ("lnln", 64), ("mult", 64)):
        back = settings.build(settings.lay(shared, {"model": {"name": name}}))
        assert (back.model.name, back.model.width) == (name, width)


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a pipe, ``--config <(...)``."""
    (tmp_path / "a.yaml").write_text("train: {epochs: 3}")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nmodel: {name: text}")
    read, seen = settings.read_yaml, []
    monkeypatch.setattr(settings, "read_yaml", lambda path: (seen.append(path.name), read(path))[1])
    assert parse("--config", str(tmp_path / "b.yaml"), "--train.seed", "2").train.epochs == 3
    assert seen == ["b.yaml", "a.yaml"]


def test_dotted_keys_of_a_file_are_settings_too(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "model.name: text\nmodel.width: 64\ntrain: {}\nmodel: {heads: 4}"
    )
    config = parse("--config", str(tmp_path / "c.yaml"))
    assert (config.model.name, config.model.width, config.model.heads) == ("text", 64, 4)
    assert settings.build({"model.name": "text", "model.width": 64}).model.width == 64


def test_a_mapping_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_model, "MAPPED", replace(own_model.SPEC, config=Mapped), raising=False)
    (tmp_path / "a.yaml").write_text("model: {name: 'own_model:MAPPED', scales: {audio: 2}}")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nmodel.scales.text: 3.0")
    file = ("--config", str(tmp_path / "b.yaml"))
    config = parse(*file)
    assert config.model.scales == {"audio": 2, "text": 3}
    assert settings.build(settings.to_dict(config)) == config
    assert parse(*file, "--model.scales", "{vision: 1}").model.scales["vision"] == 1
    assert len({settings.config_hash(c) for c in (config, make_config("own_model:MAPPED"))}) == 2
    (tmp_path / "c.yaml").write_text("model: {name: 'own_model:MAPPED', scales: {audio: much}}")
    with pytest.raises(ConfigError, match=r"^model.scales.audio: .*number, got 'much'$"):
        parse("--config", str(tmp_path / "c.yaml"))
    (tmp_path / "d.yaml").write_text("train: {epochs: {first: 3}}")
    with pytest.raises(ConfigError, match=r"^train.epochs: .*integer$"):
        parse("--config", str(tmp_path / "d.yaml"))


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
