"""How a run ends before its last step: told to leave; launcher, peer or memory gone.

The command line listens before it imports torch, so that torch's errors are known by their names.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lnln_dist.errors import TrainingError, TransientError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
LAUNCHER = "TORCHELASTIC_RUN_ID"  # set for ranks that accelerate launch or torchrun started
POLL_S = 0.5
GRACE_S = 100.0  # for the step under way and its checkpoint
# A peer is gone: torch's errors that mean nothing else, and what gloo's plain RuntimeErrors say.
LOSS = frozenset({"DistBackendError", "DistNetworkError", "DistStoreError"})
OF_LOSS = (
    "gloo/transport",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "Application timeout",
)
# The same of memory that is not there; cuBLAS and torch's allocator on a CPU have no error type.
MEMORY = frozenset({"OutOfMemoryError"})
OF_MEMORY = ("CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator")


@contextmanager
def hearing(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[signal.Signals] = SIGNALS
) -> Iterator[None]:
    """Gives signals to a handler within the block, then puts the old ones back.

    Outside a main thread (a trial of a sweep) signals belong to somebody else: nothing is done.
    """
    main = threading.current_thread() is threading.main_thread()
    old = {number: signal.signal(number, handler) for number in (numbers if main else ())}
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


class Notice:
    """Whether this process was told to leave; set by a signal handler, read between steps."""

    def __init__(self) -> None:
        self.given = False
        self.at_work = False
        """Whether the ranks have met: from then on leaving is something they do together."""

    def give(self) -> None:
        """Tells it to leave."""
        self.given = True

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.give()

    @contextmanager
    def listening(self) -> Iterator["Notice"]:
        """Listens for ``SIGNALS`` within the block, where it may (``hearing``)."""
        with hearing(self._take):
            yield self


def _exit() -> None:
    os._exit(1)


def _parent() -> int:
    return os.getppid()


def _launcher() -> int:
    """The parent's process id, or 0 if it has died by now and init took its place."""
    parent = _parent()
    if parent != 1:
        return parent
    try:
        command = Path("/proc/1/cmdline").read_bytes()
    except OSError:
        return parent
    # In a container the launcher may be the first process itself.
    return parent if b"python" in command else 0


@contextmanager
def watching_launcher(
    notice: Notice,
    *,
    environment: Mapping[str, str] = os.environ,
    leave: Callable[[], None] = _exit,
) -> Iterator[None]:
    """Within the block, takes the death of the launcher for being told to leave.

    The launcher starts ranks in sessions of their own. Killed by -9, it takes none of them along:
    they would train on, and keep devices and run folder from the run that is to go on.

    Args:
        notice: given, from another thread, when the launcher is gone.
        environment: tells whether there is a launcher; without one nothing is watched.
        leave: called if the block has not ended ``GRACE_S`` later, as in a collective that nobody
            joins any more; at once before the ranks have met, when there is nothing to save. What
            is committed stays; nothing is ever half-written.
    """
    if LAUNCHER not in environment:
        yield
        return
    launcher, over = _launcher(), threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            if _parent() != launcher:
                notice.give()
                if not over.wait(GRACE_S if notice.at_work else 0):
                    leave()
                return

    thread = threading.Thread(target=watch, name="launcher-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _is(err: BaseException, kinds: frozenset[str], signs: tuple[str, ...]) -> bool:
    names = {kind.__name__ for kind in type(err).__mro__}
    said = any(sign in str(err) for sign in signs)
    return isinstance(err, RuntimeError) and (said or not names.isdisjoint(kinds))


def is_lost_peer(err: BaseException) -> bool:
    """Whether an error comes from a process or a network that is gone.

    With gloo, that is. NCCL's collectives return before they have run: its watchdog thread finds
    the time-out, logs it and ends the process, and no exception comes here.
    TORCH_NCCL_BLOCKING_WAIT would make waiting raise, but lets the host wait for every collective,
    which gives up the overlap of sending and computing in every step.
    """
    return _is(err, LOSS, OF_LOSS)


@contextmanager
def explain_lost_peers(rank: int, world: int, timeout_s: float) -> Iterator[None]:
    """Turns the loss of another process into a ``TransientError``; other errors pass.

    Args:
        rank: of this process.
        world: number of processes.
        timeout_s: after which a silent peer counts as lost.
    """
    try:
        yield
    except RuntimeError as err:
        if world == 1 or not is_lost_peer(err):
            raise
        first = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise TransientError(
            f"rank {rank} on {socket.gethostname()} lost the other processes: one of them, "
            f"or the network, is gone or silent for {timeout_s:g} s ({first[:200]}); start the run "
            "again with --resume and it goes on from its newest checkpoint"
        ) from err


def is_out_of_memory(err: BaseException) -> bool:
    """Whether memory was asked for that is not there."""
    return _is(err, MEMORY, OF_MEMORY)


@contextmanager
def explain_out_of_memory(rank: int) -> Iterator[None]:
    """Turns a lack of memory into a ``TrainingError``; other errors pass."""
    try:
        yield
    except RuntimeError as err:
        if not is_out_of_memory(err):
            raise
        # Sweeps tell such a trial by the words "out of memory".
        raise TrainingError(
            f"rank {rank} on {socket.gethostname()} is out of memory: set "
            "train.auto_micro_batch true or a smaller train.micro_batch, "
            "model.encoder.checkpoint_activations true, or train.precision bf16; the last "
            f"checkpoint is intact ({' '.join(str(err).split())[:200]})"
        ) from err
