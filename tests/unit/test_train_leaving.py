"""How a run ends before its last step."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager

import pytest
import torch
from torch import distributed

from lnln_dist.errors import TrainingError, TransientError
from lnln_dist.train import leaving
from lnln_dist.train.leaving import (
    LAUNCHER,
    SIGNALS,
    Notice,
    explain_lost_peers,
    explain_out_of_memory,
    watching_launcher,
)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_gives_notice_and_does_not_kill(number: signal.Signals) -> None:
    notice = Notice()
    with notice.listening():
        assert not notice.given
        os.kill(os.getpid(), number)
        assert notice.given


def test_old_handlers_come_back() -> None:
    before = [signal.getsignal(n) for n in SIGNALS]
    with Notice().listening():
        assert [signal.getsignal(n) for n in SIGNALS] != before
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_outside_the_main_thread_nothing_is_touched() -> None:
    seen: list[bool] = []

    def listen() -> None:
        with Notice().listening() as notice:
            seen.append(notice.given)

    before = [signal.getsignal(n) for n in SIGNALS]
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [False]
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_listening_needs_no_torch() -> None:
    code = "import lnln_dist.train.leaving, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Rank:
    """A rank whose launcher can die."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, parent: int = 4711) -> None:
        self.parent = parent
        self.notice = Notice()
        self.left = threading.Event()
        monkeypatch.setattr(leaving, "POLL_S", 0.01)
        monkeypatch.setattr(leaving, "_parent", lambda: self.parent)

    def watched(self) -> AbstractContextManager[None]:
        return watching_launcher(self.notice, environment={LAUNCHER: "job"}, leave=self.left.set)


def wait_for_notice(rank: Rank) -> None:
    for _ in range(1000):
        if rank.notice.given:
            return
        threading.Event().wait(0.01)
    raise AssertionError("no notice was given")


def test_death_of_the_launcher_is_a_notice_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = Rank(monkeypatch)
    rank.notice.at_work = True
    with rank.watched():
        threading.Event().wait(0.1)
        assert not rank.notice.given
        rank.parent = 1
        wait_for_notice(rank)
    assert not rank.left.is_set()


def test_a_rank_that_cannot_leave_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "GRACE_S", 0.05)
    rank = Rank(monkeypatch)
    rank.notice.at_work = True
    with rank.watched():
        rank.parent = 1
        assert rank.left.wait(10)


def test_before_the_ranks_have_met_it_is_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = Rank(monkeypatch)
    with rank.watched():
        rank.parent = 1
        assert rank.left.wait(10)


@pytest.mark.parametrize(
    ("first", "orphaned"),
    [(b"/sbin/init\0", True), (b"/usr/bin/python3\0/usr/bin/accelerate\0launch\0", False)],
)
def test_a_launcher_that_died_before_the_watch_began(
    monkeypatch: pytest.MonkeyPatch, first: bytes, orphaned: bool
) -> None:
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: first)
    rank = Rank(monkeypatch, parent=1)
    with rank.watched():
        assert rank.left.wait(0.3) == orphaned


def test_without_a_launcher_nobody_is_watched() -> None:
    before = threading.active_count()
    with watching_launcher(Notice(), environment={}):
        assert threading.active_count() == before
    with watching_launcher(Notice(), environment={LAUNCHER: "job"}):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


GLOO = "[../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 15000ms for recv\nmore"


def failing(err: Exception, *, rank: int = 3, world: int = 4) -> None:
    with explain_lost_peers(rank, world, 15):
        raise err


@pytest.mark.parametrize(
    "err",
    [
        RuntimeError(GLOO),
        RuntimeError("[pair.cc:534] Connection closed by peer [10.77.0.2]:4242"),
        distributed.DistBackendError("NCCL error: remote process exited"),
        distributed.DistNetworkError("The client socket has timed out"),
    ],
)
def test_a_lost_peer_is_one_line_with_a_remedy(err: Exception) -> None:
    with pytest.raises(TransientError) as caught:
        failing(err)
    said = str(caught.value)
    assert said.startswith("rank 3 on ")
    assert "silent for 15 s" in said
    assert "--resume" in said
    assert "\n" not in said


@pytest.mark.parametrize("err", [RuntimeError("size mismatch"), ValueError("Timed out waiting")])
def test_other_errors_pass(err: Exception) -> None:
    with pytest.raises(type(err), match=str(err)):
        failing(err)


def test_a_run_alone_has_nobody_to_lose() -> None:
    with pytest.raises(RuntimeError, match="Timed out"):
        failing(RuntimeError(GLOO), rank=0, world=1)


REMEDIES = (
    "train.auto_micro_batch",
    "train.micro_batch",
    "model.encoder.checkpoint_activations",
    "train.precision bf16",
)


def short_of_memory(err: Exception) -> None:
    with explain_out_of_memory(3):
        raise err


@pytest.mark.parametrize(
    "err",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_the_rank_and_the_remedies_are_named_in_one_line(err: Exception) -> None:
    with pytest.raises(TrainingError, match=r"^rank 3 on .* is out of memory: set ") as caught:
        short_of_memory(err)
    said = str(caught.value)
    assert all(remedy in said for remedy in REMEDIES)
    assert "\n" not in said


def test_a_host_that_refuses_is_told_the_same() -> None:
    with (
        pytest.raises(TrainingError, match="out of memory"),
        explain_out_of_memory(0),
    ):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("err", [RuntimeError("size mismatch"), ValueError("out of memory")])
def test_errors_that_say_nothing_of_memory_pass(err: Exception) -> None:
    with pytest.raises(type(err), match=str(err)):
        short_of_memory(err)
