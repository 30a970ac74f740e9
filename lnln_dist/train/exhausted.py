"""Memory that does not suffice is told in one line that names what to set."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Protocol

import torch

from lnln_dist.errors import TrainingError

# How it is said without an error type of its own: by cuBLAS, and by torch's allocator on a CPU.
SIGNS = ("CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator")


class Peer(Protocol):
    """What this needs of a ``Runtime``."""

    rank: int


def is_out_of_memory(err: BaseException) -> bool:
    """Whether memory was asked for that is not there."""
    if isinstance(err, torch.OutOfMemoryError):
        return True
    return isinstance(err, RuntimeError) and any(sign in str(err) for sign in SIGNS)


@contextlib.contextmanager
def explain_out_of_memory(runtime: Peer) -> Iterator[None]:
    """Turns a lack of memory into a ``TrainingError``; other errors pass.

    Args:
        runtime: of this process.
    """
    try:
        yield
    except RuntimeError as err:
        if not is_out_of_memory(err):
            raise
        # Sweeps tell such a trial by the words "out of memory".
        raise TrainingError(
            f"rank {runtime.rank} on {socket.gethostname()} is out of memory: set "
            "train.auto_micro_batch true or a smaller train.micro_batch, "
            "model.encoder.checkpoint_activations true, or train.precision bf16; the last "
            f"checkpoint is intact ({' '.join(str(err).split())[:200]})"
        ) from err
