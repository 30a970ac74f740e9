"""Models by name, ours and a user's, and the settings each has."""

import dataclasses
import sys
from pathlib import Path

import own_model
import pytest
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from lnln_dist import settings
from lnln_dist.config import STRICT, Count, LossConfig, ModelConfig
from lnln_dist.errors import ConfigError
from lnln_dist.specs import registry
from lnln_dist.specs.lnln import LNLNConfig
from lnln_dist.specs.spec import ModelSpec
from lnln_dist.specs.text import TextConfig


@pytest.mark.parametrize("name", [*registry.MODELS, "own_model:SPEC"])
def test_every_model_has_settings_of_its_own(name: str) -> None:
    spec = registry.find_spec(name)
    config = settings.build({"model": {"name": name}})
    assert type(config.model) is spec.config
    assert type(config.loss) is spec.loss
    assert config.model.name == name
    assert settings.build(settings.to_dict(config)) == config
    assert config == registry.make_config(name)
    assert registry.loss_weights(config.loss)["sentiment"] == 1.0
    assert callable(spec.builder())


def test_the_default_is_lnln() -> None:
    assert isinstance(settings.build({}).model, LNLNConfig)
    assert isinstance(registry.make_config("text").model, TextConfig)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lnnl", "no model 'lnnl'; choose one of lnln, text, .*almt.*, or name your own"),
        ("no_such_module:SPEC", "no_such_module:SPEC cannot be imported.*PYTHONPATH"),
        ("own_model:NOTHING", "module own_model has no NOTHING"),
        ("own_model:Own", "own_model:Own is a type, not a ModelSpec"),
        (":SPEC", "no model ':SPEC'; choose one of"),
        ("own_model:", "name your own as package.module:SPEC"),
        ("", "expected a name, got ''"),
    ],
)
def test_a_name_that_is_no_model_is_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model.name: .*{message}"):
        settings.build({"model": {"name": name}})


STRICTLY = dataclass(frozen=True, kw_only=True, config=STRICT)


class Undecorated(ModelConfig):
    hidden: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(ModelConfig):
    hidden: int = 3


@STRICTLY
class Wanting(ModelConfig):
    hidden: Count


@STRICTLY
class Impossible(LossConfig):
    sentiment: float = 1.0

    @model_validator(mode="after")
    def _check(self) -> "Impossible":
        raise ValueError("never")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": Undecorated}, "Undecorated has to be made with @dataclass.frozen=True"),
        ({"config": Plain}, "Plain has to be made with @dataclass.frozen=True, .* of pydantic"),
        ({"config": Wanting}, "hidden of Wanting has no default: give it one"),
        ({"config": dict}, "config has to be a class over ModelConfig, not <class 'dict'>"),
        ({"config": Wanting(hidden=1)}, "config has to be a class over ModelConfig, not "),
        ({"loss": Impossible}, "a default is not allowed: .*never"),
        ({"loss": ModelConfig}, "loss has to be a class over LossConfig"),
        ({"recipes": {"paper": {"model.hiden": (1,)}}}, "recipe paper: .* no setting model.hiden"),
        ({"recipes": {"mine": {}}}, "there is no recipe 'mine': take one of .*'paper', 'official'"),
        ({"without_effect": ("noise.tekst",)}, "without_effect: .* no setting or section noise.te"),
    ],
)
def test_a_spec_that_cannot_be_is_one_line(
    change: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"own_model:BROKEN{abs(hash(message))}"
    broken = dataclasses.replace(own_model.SPEC, **change)
    monkeypatch.setattr(own_model, name.partition(":")[2], broken, raising=False)
    with pytest.raises(ConfigError, match=rf"^model.name: {name}: .*{message}") as caught:
        settings.build({"model": {"name": name}})
    assert "\n" not in str(caught.value)


def test_a_users_files_are_hashed_and_ours_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registry.code_sha256("lnln") is None
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "of_net.py").write_text("def build(*_):\n    return 1\n")
    (tmp_path / "of_spec.py").write_text(
        "import dataclasses\nfrom own_model import SPEC\n"
        "SPEC = dataclasses.replace(SPEC, build='of_net:build')\n"
    )
    found = [registry.code_sha256("of_spec:SPEC")]
    for file in ("of_net.py", "of_spec.py"):
        with (tmp_path / file).open("a") as handle:
            handle.write("# changed\n")
        registry.code_sha256.cache_clear()
        found.append(registry.code_sha256("of_spec:SPEC"))
    assert len(set(found)) == 3


@pytest.mark.parametrize("column", ["rate", "label", "checkpoint"])
def test_what_a_model_tells_may_not_be_called_as_a_column(
    column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with the settings, not by an evaluation after the training."""
    spec = dataclasses.replace(own_model.SPEC, extras=("fine", column))
    monkeypatch.setattr(own_model, "CLASHING", spec, raising=False)
    with pytest.raises(ConfigError, match=rf"^model.name: own_model:CLASHING: .* calls {column} "):
        settings.build({"model": {"name": "own_model:CLASHING"}})


def test_a_module_beside_the_start_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_start.py").write_text("from own_model import SPEC\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    assert isinstance(registry.find_spec("beside_start:SPEC"), ModelSpec)
