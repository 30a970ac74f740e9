"""Whether a run may start: do settings fit the data, is the folder free or this run's own."""

import shutil
from contextlib import ExitStack
from pathlib import Path

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.data.schema import Index
from lnln_dist.errors import CheckpointError, UserError
from lnln_dist.files import LOCK, PENDING, explain_os_errors, held
from lnln_dist.runs import Run, write_run
from lnln_dist.specs.registry import code_sha256
from lnln_dist.train.micro_batch import REMEMBERED
from lnln_dist.train.teacher import teacher_folder, teacher_sha256

# What a start that failed leaves behind, beside the lock.
LEFTOVERS = (LOCK, REMEMBERED, "encoder", "config.yaml", "trial.json")
# All that a run (or a sweep's trial) writes; anything else in its folder is the user's.
WRITTEN = {
    *LEFTOVERS,
    *("run.json", "log.jsonl", "checkpoints", "best", "events", "profile", "failure.txt"),
}
WAIT_S = 20.0  # for a killed predecessor to write its last checkpoint and be gone


def claim(
    folder: Path, config: Config, index: Index, *, resume: bool, overwrite: bool, hold: ExitStack
) -> None:
    """Makes ``folder`` this run's, or refuses it.

    Args:
        folder: the run folder.
        config: the resolved settings.
        index: of the data.
        resume: a run that is there may be gone on with.
        overwrite: a run that is there may be replaced.
        hold: keeps a second training out of the folder until it is closed.

    Raises:
        UserError: it holds something else, or a run that is neither to be resumed nor replaced.
        TransientError: it is being trained.
        CheckpointError: the run there has other settings or data; the differing keys are named.
    """
    with explain_os_errors(folder):
        if folder.is_dir() and overwrite and not resume:
            _refuse_foreign(folder)
            # Not waited for: a run that ends meanwhile must not be removed right after.
            hold.enter_context(held(folder, wait_s=0))
            _refuse_guests(folder)
            _empty(folder)
            return
        if folder.is_dir() and not resume and any(_kept(folder)):
            raise UserError(
                f"{folder} exists: pass --resume to go on with it, --overwrite to replace it, or "
                "choose another --output"
            )
        if folder.is_dir():
            _refuse_foreign(folder)
        folder.mkdir(parents=True, exist_ok=True)
        hold.enter_context(held(folder, wait_s=WAIT_S))
    if (folder / "run.json").exists():
        _go_on(folder, config, index)


def _go_on(folder: Path, config: Config, index: Index) -> None:
    """Refuses to go on with a run of other settings, code or data; notes a longer training."""
    old = Run(folder)
    changed = settings.differences(old.config, config)
    if "model.name" in changed:  # the settings of another model differ all the same
        changed = {"model.name": changed["model.name"]}
    more = config.train.epochs > old.config.train.epochs
    longer = set(changed) == {"train.epochs"} and more and config.optim.steady
    if changed and not longer:
        listed = "; ".join(f"{k}: {a!r} there, {b!r} here" for k, (a, b) in changed.items())
        raise CheckpointError(
            f"{folder} was trained with other settings ({listed}): put them back to go on with "
            "it, or choose another --output (only a constant schedule without warm-up can be "
            "lengthened)"
        )
    if old.info.data_hash != index.data_hash():
        raise CheckpointError(
            f"{folder} was trained on other data than {config.data.path} (data hash "
            f"{(old.info.data_hash or 'unknown')[:12]} there, {index.data_hash()[:12]} here)"
        )
    there, here = old.info.model_sha256, code_sha256(config.model.name)
    if there is not None and there != here:
        raise CheckpointError(
            f"{folder} was trained with another file of model {config.model.name} (sha256 "
            f"{there[:12]} there, {(here or 'none')[:12]} here): put it back to go on, choose "
            "another --output, or, if both compute the same, set model_sha256 in "
            f"{folder}/run.json to null"
        )
    _check_teacher(old, config)
    if longer:
        noted = {"config_hash": settings.config_hash(config), "rescaled_from": index.rescaled_from}
        info = old.info.model_copy(update=noted)
        write_run(folder, config, info)


def _check_teacher(old: Run, config: Config) -> None:
    if old.info.teacher_sha256 != teacher_sha256(config):
        raise CheckpointError(
            f"{old.folder} was trained with another teacher than {teacher_folder(config)} now "
            "holds: put its best/best.safetensors back, or choose another --output"
        )


def _empty(folder: Path) -> None:
    """Removes everything but the lock, which is held."""
    # run.json last: a folder without it would not be known as a run after a kill in between.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "run.json"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _kept(folder: Path) -> list[Path]:
    """What a folder holds beside the leftovers of a start that failed."""
    there = list(folder.iterdir())
    if not (folder / LOCK).exists():
        return there
    return [p for p in there if p.name not in LEFTOVERS and not p.name.startswith(PENDING)]


def _refuse_guests(folder: Path) -> None:
    names = (p.name for p in folder.iterdir() if not p.name.startswith(PENDING))
    guests = sorted(set(names) - WRITTEN)
    if guests:
        raise UserError(
            f"{folder} holds more than a run ({', '.join(guests)}): --overwrite would remove that "
            "too; move it elsewhere first"
        )


def _refuse_foreign(folder: Path) -> None:
    if _kept(folder) and not (folder / "run.json").exists():
        raise UserError(f"{folder} holds other things than a run: choose another folder")
