"""A peer that is gone is told in one line, not by a traceback of the communication library.

With gloo, that is. NCCL's collectives return before they have run: its watchdog thread finds the
time-out, logs it and ends the process, and no exception comes here. TORCH_NCCL_BLOCKING_WAIT would
make waiting raise, but lets the host wait for every collective, which gives up the overlap of
sending and computing in every step.
"""

import contextlib
import socket
from collections.abc import Iterator
from typing import Protocol

from torch import distributed

from lnln_dist.errors import TransientError

# Errors that mean nothing else, and what gloo's plain RuntimeErrors say.
KINDS = (
    distributed.DistBackendError,
    distributed.DistNetworkError,
    distributed.DistStoreError,
)
SIGNS = (
    "gloo/transport",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "Application timeout",
)


class Peer(Protocol):
    """What this needs of a ``Runtime``."""

    rank: int
    world: int


def is_lost_peer(err: BaseException) -> bool:
    """Whether an error comes from a process or a network that is gone."""
    if isinstance(err, KINDS):
        return True
    return isinstance(err, RuntimeError) and any(sign in str(err) for sign in SIGNS)


@contextlib.contextmanager
def explain_lost_peers(runtime: Peer, timeout_s: float) -> Iterator[None]:
    """Turns the loss of another process into a ``TransientError``; other errors pass.

    Args:
        runtime: of this process.
        timeout_s: after which a silent peer counts as lost.
    """
    try:
        yield
    except RuntimeError as err:
        if runtime.world == 1 or not is_lost_peer(err):
            raise
        first = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise TransientError(
            f"rank {runtime.rank} on {socket.gethostname()} lost the other processes: one of them, "
            f"or the network, is gone or silent for {timeout_s:g} s ({first[:200]}); start the run "
            "again with --resume and it goes on from its newest checkpoint"
        ) from err
