"""How a loader's worker processes take signals."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator

_SENDER_KNOWN = hasattr(signal, "sigwaitinfo")  # not on macOS


@contextlib.contextmanager
def terminate_held() -> Iterator[None]:
    """Holds SIGTERM back while workers are forked: every thread of theirs inherits that."""
    if not _SENDER_KNOWN:
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def start_worker(_: int) -> None:
    """Lets a worker outlive signals meant for the run; torch itself keeps it to one thread.

    Ctrl-C and a scheduler's notice reach every process of a job. The parent decides when to stop
    and still needs batches up to then; when it dies, torch's watchdog ends the worker.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if _SENDER_KNOWN and parent is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for workers not forked
        threading.Thread(target=_obey, args=(parent.pid,), daemon=True).start()


def _obey(parent: int | None) -> None:
    """Ends this worker at its parent's SIGTERM, nobody else's."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
