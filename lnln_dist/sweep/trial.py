"""One stretch of one trial in a worker process: the training program, nothing else; no Ray.

The trial runs `train.program.run`, so its numbers are those of the same config and seed under
`accelerate launch`. It stops after the epoch it was asked for, checkpoint written, and a later
stretch goes on from there, in whichever process.
"""

import contextlib
import gc
import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lnln_dist import settings
from lnln_dist.config import Config
from lnln_dist.errors import StorageError, TransientError, UserError
from lnln_dist.files import LOCK, atomic_write, held
from lnln_dist.sweep import records

# Left over from another launch, these would make a trial believe it is one of many processes.
LAUNCHER_VARIABLES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK",
    "MASTER_ADDR", "MASTER_PORT", "PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK",
)  # fmt: skip
LAUNCHER_PREFIXES = ("ACCELERATE_", "TORCHELASTIC_", "FSDP_")


Status = Literal["paused", "finished", "failed", "no room"]
HELD_S = 20.0  # for a killed predecessor of a trial to be gone


@dataclass(frozen=True, kw_only=True)
class Job:
    """A stretch of training, as it travels to a worker."""

    trial: str
    folder: str
    """The run folder, absolute, on storage that every node sees."""
    config: dict[str, Any]
    """Full settings, nested."""
    until: int
    """Stop after this epoch."""
    cpu: bool
    swept: Sequence[str] = ()
    """Settings in which the sweep's trials differ."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a stretch ended."""

    status: Status
    reason: str = ""
    start: int = 0
    """Epochs that were trained before, as its checkpoint says."""
    seconds: float = 0.0
    """Time in the worker."""
    peak_gib: float = 0.0
    host: str = ""
    pid: int = 0


class Told(Protocol):
    """What the training program says after an epoch."""

    epoch: int
    step: int
    valid: Mapping[str, float]


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
        shown_first: Collection[str],
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


def prepare(job: Job) -> list[records.Epoch]:
    """Epochs that earlier stretches of the trial have trained, from its newest checkpoint.

    They are told again: the news may have died with the process it was meant for. Without a
    checkpoint there is nothing to go on from, and what is there (a torn start, or a trial whose
    checkpoints were given up) is removed.

    Raises:
        TransientError: another process still trains there.
    """
    folder = Path(job.folder)
    if folder.is_dir() and records.newest_state(folder) is None:
        with held(folder, wait_s=HELD_S):
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK:
                    path.unlink(missing_ok=True)
    return _trained(folder)


def _trained(folder: Path) -> list[records.Epoch]:
    state = records.newest_state(folder)
    if state is None:
        return []
    return [row for row in records.read_epochs(folder) if row.step <= state["step"]]


def run_job(
    job: Job,
    tell: Callable[[records.Epoch], None],
    *,
    program: Program | None = None,
) -> Outcome:
    """Trains ``job.trial`` until ``job.until``; what the user can mend becomes a failed outcome.

    Args:
        tell: hears of every new epoch.
        program: the training program; None is `train.program.run`.

    Raises:
        TransientError: a peer is lost, or a predecessor still there; worth trying again.
        Exception: anything unforeseen; the caller decides whether to try again.
    """
    begin = time.perf_counter()
    folder = Path(job.folder)
    start = len(_trained(folder))

    def on_epoch(report: Told) -> bool:
        tell(records.Epoch(report.epoch, report.step, time.time(), dict(report.valid)))
        return report.epoch >= job.until

    try:
        config = settings.build(job.config)
        result = (program or _program())(
            config,
            folder,
            resume=True,
            cpu=job.cpu or None,
            on_epoch=on_epoch,
            shown_first=job.swept,
        )
    except TransientError:
        raise
    except StorageError as err:
        return _outcome("no room", str(err), start, begin, 0.0)
    except (UserError, MemoryError) as err:
        return _failed(folder, err, start, begin)
    except RuntimeError as err:
        if "out of memory" not in str(err).lower():
            raise
        return _failed(folder, err, start, begin)
    status: Status = "finished" if result.state.finished else "paused"
    return _outcome(status, "", start, begin, result.peak_gib)


def _program() -> Program:
    from lnln_dist.train.program import run

    return run


def _outcome(status: Status, reason: str, start: int, begin: float, peak_gib: float) -> Outcome:
    return Outcome(
        status=status,
        reason=reason,
        start=start,
        seconds=time.perf_counter() - begin,
        peak_gib=peak_gib,
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def _failed(folder: Path, err: BaseException, start: int, begin: float) -> Outcome:
    reason = " ".join(str(err).split()) or type(err).__name__
    if isinstance(err, MemoryError) or "out of memory" in reason.lower():
        reason = f"out of memory: {reason[:200]}; set train.micro_batch or give a trial more"
    with contextlib.suppress(UserError):  # the reason matters more than its traceback
        atomic_write(folder / "failure.txt", "".join(traceback.format_exception(err)))
    return _outcome("failed", reason, start, begin, 0.0)


def free_memory() -> None:
    """Gives memory back, a GPU's above all, before the next trial of this process or another."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
