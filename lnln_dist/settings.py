"""Reading, merging, checking and hashing of configs; no torch.

A YAML file may name other files under ``base`` (paths relative to itself): they are read first
and the file's own keys are laid over them, so that a recipe is a small difference. A ``data.path``
that begins with ``{here}/`` starts at the folder of its file, any other at the working directory.
"""

import dataclasses
import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from lnln_dist.config import MODALITIES, Config, TaskConfig
from lnln_dist.errors import ConfigError
from lnln_dist.specs.registry import DEFAULT, config_class, find_spec, make_config, passes_of
from lnln_dist.specs.registry import leaf_keys as leaf_keys

T = TypeVar("T")
Layer = tuple[Path, dict[str, Any]]  # a config file and what it says itself
HERE = "{here}/"
# Settings that change speed, places or bookkeeping but not what is computed: not in the hash.
BOOKKEEPING = frozenset(
    {
        "recipe",
        "data.path",
        "data.workers",
        "data.prefetch",
        "data.pin_memory",
        "model.encoder.checkpoint_activations",
        "train.micro_batch",
        "train.auto_micro_batch",
        "train.strategy",
        "train.offload",
        "train.profile_steps",
        "train.timeout_s",
        "train.keep_checkpoints",
        "train.checkpoint_steps",
        "train.log_steps",
        "select.batch_size",
    }
)
# Settings that came after the first runs, with the values that change nothing of what runs were
# before: not in the hash at these, so that old and new runs of the same settings are one model.
LATER: dict[str, Any] = {
    "noise.place": "anywhere",
    "noise.spans": 1,
    "noise.shared": False,
    **{f"noise.{m}.{name}": None for m in MODALITIES for name in ("place", "spans")},
    **{f"task.{field.name}": field.default for field in dataclasses.fields(TaskConfig)},
    "train.order": "joint",
    "data.normalise": False,
    "model.classifier": "",
    "model.detach_completeness": False,
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: ``1e-4`` is a number, ``2020-01-01`` text, no key repeated."""

    yaml_implicit_resolvers = {  # noqa: RUF012 as the library declares it
        first: [kind for kind in kinds if kind[0] != "tag:yaml.org,2002:timestamp"]
        for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(k) for k in keys if keys.count(k) > 1})
        if twice:
            raise yaml.MarkedYAMLError(problem=f"repeated key {', '.join(twice)}")
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML mapping, without its bases.

    Raises:
        ConfigError: no such file, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise ConfigError(f"{path}: no such config file") from err
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read ({err})") from err
    raw = read_value(text, at=str(path))
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(raw).__name__}")
    return raw


def read_value(text: str, *, at: str) -> Any:
    """One YAML value, as given on a command line.

    Raises:
        ConfigError: not YAML, or a value contains itself; ``at`` names the place.
    """
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 a SafeLoader
        _check_finite(value, [], set())
    except yaml.YAMLError as err:
        raise ConfigError(f"{at}: not valid YAML: {' '.join(str(err).split())}") from err
    except RecursionError as err:
        raise ConfigError(f"{at}: nested too deep (does an alias contain itself?)") from err
    return value


def _check_finite(value: Any, above: list[int], done: set[int]) -> None:
    """By YAML's aliases a value may contain itself."""
    if isinstance(value, dict | list) and id(value) not in done:
        if id(value) in above:
            raise RecursionError
        above.append(id(value))
        for item in value.values() if isinstance(value, dict) else value:
            _check_finite(item, above, done)
        done.add(above.pop())


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lays nested mappings over one another; lists and scalars are replaced."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        out[key] = merge(old, value) if both and old is not None else value
    return out


def lay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``merge`` of settings, ``below`` without those that the model in force does not know.

    So a data set's file, which may set sizes and loss weights of LNLN, serves every model. What is
    below has to be checked before (``check_keys``): a misspelt key would go the same way.
    """
    known = leaf_keys(model_name(above) or model_name(below) or DEFAULT)
    kept = {
        key: value
        for key, value in flatten(below).items()
        if not key.startswith(("model.", "loss.")) or _setting(key, known)
    }
    return merge(nest(kept), above)


def _setting(key: str, known: Collection[str]) -> str | None:
    """The known setting that a dotted key is, or is within (an entry of a mapping)."""
    parts = key.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in known), None)


def model_name(raw: Mapping[str, Any]) -> str | None:
    """``model.name`` as settings give it, nested or dotted; None if they do not."""
    model = raw.get("model")
    nested = model.get("name") if isinstance(model, Mapping) else None
    name = raw.get("model.name", nested)
    if name is not None and not (isinstance(name, str) and name):
        raise ConfigError(f"model.name: expected a name, got {name!r}")
    return name


def read_config(path: Path) -> dict[str, Any]:
    """A config file with its bases merged in, as plain nested mappings, keys checked."""
    return lay(read_configs([path]), {})


def read_configs(paths: Sequence[Path]) -> dict[str, Any]:
    """Files in order with their bases, merged; each file's keys are checked.

    What they say of one model and another is all there, for ``lay`` to choose from.
    """
    return merged([layer for path in paths for layer in layers_of(path)], None)


def merged(layers: Sequence[Layer], last: str | None) -> dict[str, Any]:
    """Layers over one another, each checked against the model in force where it is laid.

    That is the model of its own ``model.name`` or of those before it, or, as it may be a base for
    any, of those after it, ``last`` being that of the command line.
    """
    names = [model_name(raw) for _, raw in layers]
    merged: dict[str, Any] = {}
    name = None
    for number, (path, raw) in enumerate(layers):
        name = names[number] or name
        later = [other for other in (*names[number + 1 :], last) if other is not None]
        models = [name or DEFAULT, *(later[:1] if name is None else [])]
        check_keys(raw, at=f"{path}: ", models=models)
        merged = merge(merged, raw)
    return merged


def layers_of(path: Path, seen: tuple[Path, ...] = ()) -> list[Layer]:
    """A config file behind its bases, lowest first."""
    path = path.expanduser().resolve()
    if path in seen:
        raise ConfigError(f"{path}: base: the file is its own base")
    raw = read_yaml(path)
    bases = raw.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(b, str) for b in bases):
        raise ConfigError(f"{path}: base: expected a file name or a list of them, got {bases!r}")
    data = raw.get("data")
    if isinstance(data, dict) and str(data.get("path")).startswith(HERE):
        data["path"] = os.path.normpath(path.parent / data["path"].removeprefix(HERE))
    below = [layer for name in bases for layer in layers_of(path.parent / name, (*seen, path))]
    try:
        return [*below, (path, nest(flatten(raw)))]
    except ConfigError as err:
        raise ConfigError(f"{path}: {err}") from err


def flatten(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings -> dotted keys; an empty mapping is a value.

    Raises:
        ConfigError: a setting is there twice, nested and dotted.
    """
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        name = f"{prefix}{key}"
        inner = isinstance(value, Mapping) and value
        more = flatten(value, f"{name}.") if inner else {name: value}
        for twice in sorted(flat.keys() & more.keys()):
            raise ConfigError(f"{twice}: given twice, nested and dotted: drop one of the two")
        flat |= more
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys -> nested mappings, the reverse of ``flatten``.

    Raises:
        ConfigError: a key is a value and a section at once.
    """
    out: dict[str, Any] = {}
    for dotted, value in sorted(flat.items(), key=lambda item: item[0].count(".")):
        *path, last = dotted.split(".")
        place = out
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{dotted}: {part} is given a value and settings of its own")
        place[last] = value
    return out


def check_keys(
    raw: Mapping[str, Any], *, at: str = "", models: Collection[str] | None = None
) -> None:
    """Refuses keys that are not settings, with the nearest name as a hint.

    Args:
        raw: settings, nested or dotted.
        at: what the message begins with.
        models: whose settings they may be; None: of the model they name.

    Raises:
        ConfigError: names the first such key.
    """
    models = [model_name(raw) or DEFAULT] if models is None else models
    known = {key for model in models for key in leaf_keys(model)}
    sections = {k.rsplit(".", n)[0] for k in known for n in range(1, k.count(".") + 1)}
    for key, value in flatten(raw).items():
        if key in sections:
            if value == {}:
                continue
            if value is not None:
                raise ConfigError(f"{at}{key}: expected a mapping, got {value!r}")
            raise ConfigError(f"{at}{key}: the section is empty; drop it or give it settings")
        if _setting(key, known) is None:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "see lnln-dist train --help"
            own = key.startswith(("model.", "loss."))
            of = f" of model {' or '.join(models)}" if own else ""
            raise ConfigError(f"{at}{key}: unknown key{of}; {hint}")


def build(raw: Mapping[str, Any]) -> Config:
    """Nested mappings (dotted keys are fine) -> checked ``Config`` of the model they name.

    Raises:
        ConfigError: one line naming every wrong key and what it wants.
    """
    name = model_name(raw) or DEFAULT
    check_keys(raw)
    raw = merge(nest(flatten(raw)), {"model": {"name": name}})
    config = validated(config_class(name), raw)
    _check_effect(config)
    return config


def validated(
    kind: type[T],
    raw: Mapping[str, Any],
    *,
    at: str = "",
    explain: Callable[[list[str], Any], str] = lambda _parts, _item: "",
) -> T:
    """Nested mappings as a checked dataclass: what every YAML of ours goes through.

    Args:
        kind: the dataclass.
        raw: its fields.
        at: what the message begins with.
        explain: what is wrong at a place (the parts of its key), in better words than pydantic's;
            empty if it has none.

    Raises:
        ConfigError: one line naming every wrong key and what it wants.
    """
    try:
        # JSON mode: strict types, but a list is fine where a tuple is meant.
        return TypeAdapter(kind).validate_json(json.dumps(raw))
    except ValidationError as err:
        problems = []
        for item in err.errors():
            # Tuples of alternatives add the name of each to the place; only the keys are a user's.
            parts = [
                str(p)
                for p in item["loc"]
                if not str(p).startswith(("tuple[", "dict[", "literal["))
            ]
            key = ".".join(parts)
            message = item["msg"].removeprefix("Value error, ")
            given = "" if isinstance(item["input"], dict) else f", got {item['input']!r}"
            if item["type"] == "unexpected_keyword_argument":
                known = _fields_at(kind, parts[:-1])
                near = difflib.get_close_matches(parts[-1], known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
                message, given = f"unknown key; {hint}", ""
            plain = f"{key}: {message}{given}" if key else message
            problems.append(explain(parts, item) or plain)
        raise ConfigError(at + "; ".join(problems)) from err
    except (TypeError, ValueError) as err:
        raise ConfigError(f"{at}a setting cannot be read: {err}") from err


def _fields_at(kind: Any, place: Sequence[str]) -> list[str]:
    """Fields of the dataclass at a place of a nested one, be it in lists, mappings or unions."""

    def inside(kind: Any) -> Any:
        found = (kind, *map(inside, get_args(kind)))
        return next(filter(dataclasses.is_dataclass, found), None)

    for part in place:
        field = kind.__dataclass_fields__.get(part)
        kind = (field and inside(field.type)) or kind
    return list(kind.__dataclass_fields__)


def _check_effect(config: Config) -> None:
    """Refuses settings that the model never reads, unless they are left at their defaults."""
    name = config.model.name
    passes_of(config)
    unread = tuple(find_spec(name).without_effect)
    for key in differences(make_config(name), config) if unread else ():
        if key in unread or key.startswith(tuple(f"{section}." for section in unread)):
            raise ConfigError(f"{key} has no effect on model {name}: drop it")


def to_dict(config: Config) -> dict[str, Any]:
    """The resolved config as plain nested mappings (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def dump(config: Config) -> str:
    """The resolved config as YAML."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def config_hash(config: Config) -> str:
    """Twelve hex digits of everything that decides what is computed."""
    flat = {k: v for k, v in flatten(to_dict(config)).items() if k not in BOOKKEEPING}
    if config.model.name == DEFAULT:  # runs were hashed before there was another model
        del flat["model.name"]
    flat = {key: value for key, value in flat.items() if LATER.get(key, ...) != value}
    return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()[:12]


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted keys that decide what is computed and differ, with both values.

    A setting that only one of two models has is None for the other.
    """
    a, b = flatten(to_dict(old)), flatten(to_dict(new))
    keys = [k for k in {**a, **b} if k not in BOOKKEEPING]
    return {k: (a.get(k), b.get(k)) for k in keys if a.get(k) != b.get(k)}
