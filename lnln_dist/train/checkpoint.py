"""Checkpoints of a running training: what resuming needs, committed by one rename.

A checkpoint is ``checkpoints/step-00000123/`` with ``model.safetensors``, ``optimizer.safetensors``
(one tensor per parameter and slot, by the parameter's name) and ``state.json``. All tensors are
whole and in float32, whatever strategy wrote them. The position in the sampling plan is the step;
noise, order, learning rate and dropout are functions of it, so there is no generator state to save,
and a run goes on under any strategy and number of processes. Writing happens in the background.
"""

import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lnln_dist.errors import CheckpointError
from lnln_dist.files import PENDING, atomic_folder, sha256_file
from lnln_dist.runtime import FullState, Runtime

if TYPE_CHECKING:
    from torch import Tensor

OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how safetensors' own error ends that of the system


FILES = ("model.safetensors", "optimizer.safetensors")


class TrainState(BaseModel):
    """Where a run stands; ``step`` counts optimizer steps from 0."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    step: int = Field(default=0, ge=0)
    best: dict[str, float] = Field(default_factory=dict)
    """Best score so far by the name of its checkpoint."""
    best_epoch: dict[str, int] = Field(default_factory=dict)
    epochs_without_gain: int = 0
    seconds: float = 0.0
    """Time spent training, over all resumptions."""
    validation_due: bool = False
    """The last step ended an epoch that is not scored yet."""
    finished: bool = False


class _Note(BaseModel):
    """``state.json``."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    format: Literal[1] = 1
    state: TrainState
    scaler: dict[str, Any] = Field(default_factory=dict)
    sha256: dict[str, str]


def _folder(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """Committed checkpoints, oldest first."""
    found = (run / "checkpoints").glob("step-*/state.json")
    return sorted(path.parent for path in found)


def save(run: Path, state: TrainState, full: FullState, *, keep: int) -> None:
    """Writes a checkpoint aside, renames it into place, then drops all but the newest ``keep``."""
    with atomic_folder(_folder(run, state.step), overwrite=True) as pending:
        _write(full.weights, pending / "model.safetensors")
        _write(full.slots, pending / "optimizer.safetensors")
        sums = {f.name: sha256_file(f) for f in sorted(pending.iterdir())}
        note = _Note(state=state, scaler=full.scaler, sha256=sums)
        (pending / "state.json").write_text(note.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for old in checkpoints(run)[:-keep]:
        # Renamed before it is emptied: a half-removed folder must not look like a checkpoint.
        gone = old.with_name(PENDING + old.name)
        shutil.rmtree(gone, ignore_errors=True)
        old.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    for leftover in (run / "checkpoints").glob(f"{PENDING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write(tensors: "dict[str, Tensor]", file: Path) -> None:
    """``save_file``, a full disk and the like being an ``OSError`` as everywhere else."""
    try:
        save_file(tensors, file)
    except SafetensorError as err:
        found = OS_ERROR.search(str(err))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(file)) from err


def load(folder: Path) -> tuple[TrainState, FullState]:
    """Reads a checkpoint.

    Raises:
        CheckpointError: a file is damaged.
    """
    try:
        note = _Note.model_validate_json((folder / "state.json").read_text(encoding="utf-8"))
        if set(note.sha256) != set(FILES):
            raise CheckpointError(
                f"{folder / 'state.json'}: damaged (it has to hold the hashes of "
                f"{' and '.join(FILES)}); remove {folder} to resume from the checkpoint before it"
            )
        for name, wanted in note.sha256.items():
            if sha256_file(folder / Path(name).name) != wanted:
                raise CheckpointError(
                    f"{folder / name}: damaged (its hash differs); remove {folder} to resume from "
                    "the checkpoint before it"
                )
        full = FullState(
            weights=load_file(folder / "model.safetensors"),
            slots=load_file(folder / "optimizer.safetensors"),
            scaler=note.scaler,
        )
    except (OSError, ValidationError, SafetensorError, UnicodeDecodeError) as err:
        raise CheckpointError(
            f"{folder}: not a readable checkpoint ({' '.join(str(err).split())}); remove it to "
            "resume from the one before it"
        ) from err
    return note.state, full


class Saver:
    """Saves one checkpoint at a time; an error of a save is raised on all ranks at the next call.

    Only the copy of the tensors holds training up; hashing, writing and flushing happen in a
    thread of the main rank. A process killed meanwhile leaves the checkpoint before intact.

    Args:
        runtime: of this rank.
        folder: the run folder.
        keep: newest checkpoints to keep.
    """

    def __init__(self, runtime: Runtime, folder: Path, *, keep: int) -> None:
        self._runtime, self._folder, self._keep = runtime, folder, keep
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, state: TrainState, collect: Callable[[], FullState]) -> None:
        """Starts a save, after the one before has ended (collective).

        Args:
            state: where the run stands; may change after the call.
            collect: gathers the full state as a copy, called on all ranks.

        Raises:
            UserError: the save before failed, on a full disk for instance.
        """
        self.wait()
        full, at = collect(), state.model_copy(deep=True)
        if self._runtime.is_main:
            self._pending = self._pool.submit(save, self._folder, at, full, keep=self._keep)

    def wait(self) -> None:
        """Until the save under way is committed (collective).

        Raises:
            UserError: it failed.
        """

        def result() -> None:
            pending, self._pending = self._pending, None
            if pending is not None:
                pending.result()

        self._runtime.on_main(result)

    def close(self) -> None:
        """Lets a save under way end, on this rank alone; for a run that breaks off."""
        self._pool.shutdown(wait=True)
