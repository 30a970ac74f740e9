"""Writes checkpoints in the background, so that a save does not stop training."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lnln_dist.runtime import FullState, Runtime
from lnln_dist.train import checkpoint
from lnln_dist.train.checkpoint import TrainState


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
            self._pending = self._pool.submit(
                checkpoint.save, self._folder, at, full, keep=self._keep
            )

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
