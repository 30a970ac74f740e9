"""Many clips at once: by processes of this machine, or by whatever runs a function per clip."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process

from threadpoolctl import threadpool_limits

from lnln_dist.clips import features
from lnln_dist.clips.choices import Extractor
from lnln_dist.clips.features import Job
from lnln_dist.errors import DataError

Progress = Callable[[int, int], None]
Extract = Callable[[Job, Extractor], str | None]  # why a clip failed, or None
# Runs that for each job, wherever it may be, and yields jobs with their answers as they come.
Tasks = Callable[[Extract, Sequence[Job], Extractor], Iterator[tuple[Job, str | None]]]


def run_all(
    jobs: Sequence[Job],
    extractor: Extractor,
    *,
    workers: int,
    tasks: Tasks | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Extracts what is not there yet; returns the ids that failed, with the reasons."""
    todo = [job for job in jobs if not job.target.exists()]
    done = len(jobs) - len(todo)
    failed: dict[str, str] = {}

    def count(job: Job, reason: str | None) -> None:
        nonlocal done
        done += 1
        if reason is not None:
            failed[job.id] = reason
        if progress is not None:
            progress(done, len(jobs))

    if progress is not None:
        progress(done, len(jobs))
    suspects = []
    ends = tasks(_try, todo, extractor) if tasks else _in_pool(todo, extractor, workers)
    for job, reason in ends:
        if reason is _CRASHED:
            suspects.append(job)
        else:
            count(job, reason)
    # A decoder that crashes takes its whole pool along: who did it is found one by one.
    for job in suspects:
        for _, reason in _in_pool([job], extractor, 1):
            count(job, CRASH if reason is _CRASHED else reason)
    return failed


_CRASHED = "crashed"  # it, or another clip of its pool
CRASH = "the decoder crashed on it"


def _in_pool(
    jobs: Sequence[Job], extractor: Extractor, workers: int
) -> Iterator[tuple[Job, str | None]]:
    # Forked from a server that has imported the libraries once and runs nothing: no locks of other
    # threads come along, and no worker waits seconds for librosa.
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["lnln_dist.clips.features", "librosa.feature.spectral", "librosa.core.pitch", "av"]
    )
    count = min(workers, len(jobs)) or 1
    with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
        futures: dict[Future[str | None], Job] = {}
        for job in jobs:
            futures[pool.submit(_try, job, extractor)] = job
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                yield futures[future], _CRASHED


def _end_with_parent() -> None:
    """Ends this worker when the program that wants the clips is killed: else it waits for ever."""
    if (parent := parent_process()) is not None:

        def watch() -> None:
            connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _try(job: Job, extractor: Extractor) -> str | None:
    """Why a clip failed, or None."""
    try:
        # One process per core; and sums of several threads would differ in their last digits.
        with threadpool_limits(1):
            features.extract(job, extractor)
    except DataError as err:
        return str(err)
    return None
