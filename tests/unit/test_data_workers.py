import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from memory_split import SIZE, collator, equal, micro

from lnln_dist.data.loader import Loader
from lnln_dist.data.noise import CleanNoise
from lnln_dist.data.plan import sequential


class Threads(CleanNoise):
    """Reports the number of threads in the place of the rates."""

    def draw(self, rows, epoch, lengths, width):
        found = super().draw(rows, epoch, lengths, width)
        threads = np.full(len(rows), torch.get_num_threads(), dtype=np.float32)
        return {m: d._replace(rate_B=threads) for m, d in found.items()}


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_workers_have_one_thread(two_threads):
    (batch,) = Loader(collator(Threads()), [micro([0])], workers=1)
    (here,) = Loader(collator(Threads()), [micro([0])])
    assert (batch.text.rate_B.item(), here.text.rate_B.item()) == (1, 2)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system hides the sender")
def test_workers_outlive_signals_to_the_whole_job(two_threads):
    # With two threads here torch starts another one in the worker before any code of ours runs.
    items = sequential(SIZE, 2, 1, 0)
    loader = Loader(collator(), items, workers=1, prefetch=1)
    batches = iter(loader)
    found = [next(batches)]
    (worker,) = multiprocessing.active_children()
    for name in ("INT", "USR1", "TERM"):  # from a process that is not its parent
        subprocess.run(["sh", "-c", f"kill -{name} {worker.pid}"], check=True)
        found.append(next(batches))
    found += batches
    alone = list(Loader(collator(), items))
    assert all(equal(a, b) for a, b in zip(alone, found, strict=True))
    worker.terminate()
    worker.join(timeout=10)
    assert worker.exitcode == 0


ORPHANS = """
import sys, time
sys.path.insert(0, {folder!r})
from memory_split import SIZE, collator
from lnln_dist.data.loader import Loader
from lnln_dist.data.plan import sequential
import multiprocessing
batches = iter(Loader(collator(), sequential(SIZE, 1, 1, 0), workers=2, prefetch=2))
next(batches)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed():
    script = ORPHANS.format(folder=str(Path(__file__).parents[1]))
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    try:
        assert len(workers) == 2
        assert all(map(alive, workers))
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 30
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(map(alive, workers))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        for pid in filter(alive, workers):
            os.kill(pid, signal.SIGKILL)
