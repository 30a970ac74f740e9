"""What a trial's process does besides training: what was left there before, and why it failed."""

import contextlib
import gc
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Protocol

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import CheckpointError, StorageError, TransientError, UserError, one_line
from lnln_dist.files import LOCK, alone, atomic_folder, atomic_write, held
from lnln_dist.sweep import records

# Left over from another launch, these would make a trial believe it is one of many processes.
LAUNCHER_VARIABLES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK",
    "MASTER_ADDR", "MASTER_PORT", "PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK",
)  # fmt: skip
LAUNCHER_PREFIXES = ("ACCELERATE_", "TORCHELASTIC_", "FSDP_")
RETRY_S = 0.5
HELD_S = 20.0  # for a killed predecessor of a trial to be gone


class TrialFailedError(UserError):
    """A trial cannot go on by its own fault: to start it again would not help."""


class Program(Protocol):
    """`train.program.run`, or a stand-in for it."""

    def __call__(
        self,
        config: Config,
        folder: Path,
        *,
        resume: bool,
        cpu: bool | None,
        on_epoch: Callable[[Any], bool],
        lends: bool,
        shown_first: Collection[str] | None,
    ) -> Any:
        """Trains until ``on_epoch`` answers True or the run ends."""


def scrub(environment: MutableMapping[str, str], *, ranks: bool = True) -> list[str]:
    """Removes what another launcher left behind; returns the names.

    Args:
        ranks: also the rank variables; False where this process really is one of several.
    """
    left = [
        name
        for name in environment
        if name.startswith(LAUNCHER_PREFIXES) or (ranks and name in LAUNCHER_VARIABLES)
    ]
    for name in left:
        del environment[name]
    return sorted(left)


def clear_torn_start(folder: Path) -> None:
    """Removes what a run without a checkpoint has left: there is nothing to go on from.

    It is a torn start, or a trial whose checkpoints were given up. What a kill left of a
    ``hand_on`` is removed too.

    Raises:
        TransientError: another process still trains there.
        UserError: another process is handing weights on to it.
    """
    with alone(folder):
        pass
    if folder.is_dir() and records.newest_state(folder) is None:
        with held(folder, wait_s=HELD_S):
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name not in (LOCK, records.NOTE):
                    path.unlink(missing_ok=True)


def hand_on(folder: Path, config: Config, origin: records.Origin) -> None:
    """Makes a run folder anew, with another run's newest weights, optimizer and scores.

    What the run had trained by itself is given up: its weights are the other's from then on.

    Args:
        folder: of the run that is to go on so.
        config: its settings from now on.
        origin: names the other, whose model and data have to be the same.

    Raises:
        TransientError: the other does not hold still, or a predecessor still trains here.
    """
    source = Path(origin.pointer["run"])
    with contextlib.ExitStack() as predecessor:
        if folder.is_dir():
            predecessor.enter_context(held(folder, wait_s=HELD_S))
    with alone(folder), atomic_folder(folder, overwrite=True) as made:
        end = time.monotonic() + HELD_S
        while problem := _copy_run(source, made, config):
            # The other trains on meanwhile, and replaces its checkpoints one by one.
            if time.monotonic() > end:
                raise TransientError(f"{source}: its weights cannot be taken over ({problem})")
            time.sleep(RETRY_S)
        if (note := folder / records.NOTE).exists():
            shutil.copy(note, made)
        atomic_write(made / records.ORIGIN, origin.model_dump_json(indent=1) + "\n")


def _copy_run(source: Path, made: Path, config: Config) -> str:
    """Copies what a run needs to be gone on with; returns why that came to nothing."""
    from lnln_dist import runs  # not above: the driver, too, imports this module, but not torch

    shutil.rmtree(made)
    made.mkdir()
    try:
        newest = max((source / "checkpoints").glob("step-*/state.json")).parent
        for part in (Path("checkpoints", newest.name), "best", "encoder"):
            shutil.copytree(source / part, made / part)
        shutil.copy(source / "log.jsonl", made)
        info = runs.Run(source).info
        info = info.model_copy(update={"config_hash": settings.config_hash(config)})
        runs.write_run(made, config, info)
        state, copy = records.newest_state(made) or {}, runs.Run(made)
        kept = {name: copy.best_note(name)["epoch"] for name in state["best_epoch"]}
    except (OSError, ValueError, KeyError, shutil.Error, CheckpointError) as err:
        return one_line(err)[:300]
    if kept != state["best_epoch"]:
        return "its best weights are newer than its newest checkpoint"
    return ""


@contextlib.contextmanager
def failing_for_good(folder: Path) -> Iterator[None]:
    """Turns what the user has to mend into a ``TrialFailedError``, with ``failure.txt`` written.

    Passing trouble, a full disk and the unforeseen pass.
    """
    try:
        yield
    except (TransientError, StorageError, TrialFailedError):
        raise
    except (UserError, MemoryError, RuntimeError) as err:
        reason = one_line(err)
        spent = isinstance(err, MemoryError) or "out of memory" in reason.lower()
        if not spent and not isinstance(err, UserError):
            raise
        if spent:
            remedy = "" if isinstance(err, UserError) else "; set train.micro_batch or give it more"
            reason = f"out of memory: {reason[:400]}{remedy}"
        with contextlib.suppress(UserError):  # the reason matters more than its traceback
            atomic_write(folder / "failure.txt", "".join(traceback.format_exception(err)))
        raise TrialFailedError(reason) from None


def report_of(folder: Path, epoch: int) -> dict[str, float]:
    """What a run's log says of an epoch, as flat numbers.

    Returns:
        ``epoch``, ``step``, each score (its mean over the noise grid) by its name, and of the
        epoch's last logged step ``loss/TERM``, ``samples_per_s``, ``peak_gib``.
    """
    (row,) = [row for row in records.read_epochs(folder) if row.epoch == epoch]
    out: dict[str, float] = {"epoch": epoch, "step": row.step, **row.scores}
    for line in records.json_lines(folder / "log.jsonl"):
        if line.get("kind") == "train" and line.get("epoch") == epoch:
            names = {k: k for k in line if k.startswith("loss/")}
            names |= {"speed/samples_per_s": "samples_per_s", "memory/peak_gib": "peak_gib"}
            out |= {new: line[old] for old, new in names.items() if line.get(old) is not None}
    return out


def read_pointer(checkpoint: Any) -> dict[str, Any] | None:
    """The pointer to a run folder in a checkpoint of Ray's, if there is one."""
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        pointer: dict[str, Any] = json.loads((Path(folder) / "pointer.json").read_text("utf-8"))
        return pointer


def free_memory() -> None:
    """Gives memory back, a GPU's above all, before the next trial of this process or another."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
