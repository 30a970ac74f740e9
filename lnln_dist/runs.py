"""The run folder: what a run was, written so that any of its numbers can be made again.

``config.yaml`` resolved settings; ``run.json`` see ``RunInfo``; ``encoder/`` the text encoder's
config and tokenizer without weights; ``checkpoints/`` see ``train.checkpoint``;
``best/NAME.safetensors`` the weights that won by a validation score, ``NAME`` being ``best`` or,
where one is kept for every metric, that metric; ``log.jsonl``; ``events/`` for TensorBoard.

An exported model (``share.folder``) is opened as a run too: its ``config.json`` holds the settings
and ``RunInfo``, ``model.safetensors`` the one checkpoint.
"""

import contextlib
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lnln_dist import __version__, settings
from lnln_dist.config import Config
from lnln_dist.data.schema import FrameModality, Scale
from lnln_dist.errors import CheckpointError, ConfigError
from lnln_dist.files import atomic_write
from lnln_dist.models.shapes import InputShapes
from lnln_dist.specs.registry import named_in

if TYPE_CHECKING:
    from torch import Tensor

EXPORT, EXPORTED_WEIGHTS = "config.json", "model.safetensors"
PACKAGES = ("torch", "transformers", "accelerate", "deepspeed", "pyarrow", "numpy")


class RunInfo(BaseModel):
    """``run.json``: everything about a run that its config does not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    dataset: str
    family: Literal["mosi", "sims"]
    label_range: tuple[float, float]
    rescaled_from: tuple[float, float] | None = None
    """As in the index of the training data; not set in runs of before this was noted."""
    extraction: dict[str, dict[str, str]] | None = None
    """As in the index of the training data: how clips became features."""
    normalised: dict[FrameModality, Scale] | None = None
    """As in the index of the training data: by what frames are normalised; None if they are not."""
    config_hash: str
    data_hash: str | None
    """None for an imported checkpoint, whose training data are not known."""
    vocab_sha256: str | None
    model_sha256: str | None = None
    """Of the source of a user's model; None for a model of ours, or not noted. A resumption with
    another file is refused unless this is set to null by hand."""
    teacher_sha256: str | None = None
    """Of the weights of the run that training asked; None without one."""
    shapes: InputShapes
    origin: Literal["trained", "imported"] = "trained"
    parameters: int
    world_size: int = 1
    lnln_dist: str = __version__
    git_commit: str | None = None
    python: str = platform.python_version()
    machine: str = platform.platform()
    versions: dict[str, str] = {}

    @property
    def rescaling_known(self) -> bool:
        """Whether ``rescaled_from`` tells what was done to the labels of the training data."""
        return self.data_hash is not None and "rescaled_from" in self.model_fields_set


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide numbers, without importing them."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, with ``+`` if it has changes."""
    here = Path(__file__).resolve().parent
    call = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def source_hash() -> str:
    """Of the package's own source files: two checkouts with changes share a commit."""
    here = Path(__file__).resolve().parent
    found = hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        found.update(path.relative_to(here).as_posix().encode() + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


class Run:
    """An existing run folder, or an exported model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: no such run folder")
        self.exported = (folder / EXPORT).is_file() and not (folder / "run.json").exists()
        if self.exported:
            self.info, self.config = _read_export(folder / EXPORT)
            return
        try:
            raw = (folder / "run.json").read_text(encoding="utf-8")
        except FileNotFoundError as err:
            raise CheckpointError(
                f"{folder}: not a run folder (no run.json); give one that train, import-checkpoint "
                "or export wrote"
            ) from err
        except (OSError, UnicodeDecodeError) as err:
            raise CheckpointError(f"{folder}/run.json: cannot be read ({err})") from err
        self.info = _checked(raw, folder / "run.json")
        with named_in(folder):
            self.config = settings.build(settings.read_config(folder / "config.yaml"))

    @property
    def encoder_folder(self) -> Path:
        """Folder of the text encoder's config and tokenizer."""
        return self.folder / "encoder"

    def best_names(self) -> list[str]:
        """Names of the kept best checkpoints; ``best`` comes first."""
        if self.exported:
            return ["best"]
        names = [p.stem for p in sorted((self.folder / "best").glob("[!.]*.safetensors"))]
        return sorted(names, key=lambda n: (n != "best", n))

    def best_path(self, name: str = "best") -> Path:
        """The file of a best checkpoint.

        Raises:
            CheckpointError: there is none of that name.
        """
        path = self.folder / "best" / f"{name}.safetensors"
        if self.exported and name == "best":
            path = self.folder / EXPORTED_WEIGHTS
        if name not in self.best_names() or not path.is_file():  # a name, no way out of the folder
            raise CheckpointError(
                f"{path}: no such checkpoint (has training finished an epoch?); kept here: "
                f"{', '.join(self.best_names()) or 'none'}"
            )
        return path

    def load_best(self, name: str = "best") -> tuple[dict[str, "Tensor"], dict[str, Any]]:
        """Weights and the note saved with them (step, epoch, score, split, metric)."""
        with self._best(name) as (handle, note):
            return {key: handle.get_tensor(key) for key in handle.keys()}, note  # noqa: SIM118

    def best_note(self, name: str = "best") -> dict[str, Any]:
        """The note alone."""
        with self._best(name) as (_, note):
            return note

    @contextlib.contextmanager
    def _best(self, name: str) -> Iterator[tuple[Any, dict[str, Any]]]:
        path = self.best_path(name)
        try:
            with safe_open(path, framework="pt") as handle:
                yield handle, json.loads((handle.metadata() or {}).get("note", "{}"))
        except (SafetensorError, OSError, ValueError) as err:
            raise CheckpointError(f"{path}: damaged ({err}); train again or copy it anew") from err


def _checked(raw: str, path: Path) -> RunInfo:
    try:
        return RunInfo.model_validate_json(raw)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        place = f"{where}: " if where else "the file is damaged: "
        raise CheckpointError(f"{path}: {place}{first['msg']}") from err


def _read_export(path: Path) -> tuple[RunInfo, Config]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        run, raw = content["run"], dict(content["settings"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise CheckpointError(
            f"{path}: not that of a model which `lnln-dist export` wrote ({type(err).__name__}: "
            f"{err}): export it again or copy it anew"
        ) from err
    info = _checked(json.dumps(run), path)
    try:
        with named_in(path.parent):
            return info, settings.build(raw)
    except ConfigError as err:
        raise ConfigError(f"{path}: {err} (exported by lnln_dist {info.lnln_dist})") from err


def save_best(
    folder: Path, state: dict[str, "Tensor"], note: dict[str, Any], *, name: str = "best"
) -> None:
    """Replaces one best checkpoint in a single rename, its note inside the same file."""
    atomic_write(
        folder / "best" / f"{name}.safetensors",
        save(state, metadata={"note": json.dumps(note, sort_keys=True)}),
    )


def write_run(folder: Path, config: Config, info: RunInfo) -> None:
    """Writes ``config.yaml`` and ``run.json`` (last, since it makes the folder a run)."""
    atomic_write(folder / "config.yaml", settings.dump(config))
    atomic_write(folder / "run.json", info.model_dump_json(indent=2) + "\n")
