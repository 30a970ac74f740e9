"""A launcher that dies is noticed by its ranks."""

import threading
from contextlib import AbstractContextManager

import pytest

from lnln_dist.train import orphan
from lnln_dist.train.orphan import LAUNCHER, watching_launcher
from lnln_dist.train.preemption import Notice


class Rank:
    """A rank whose launcher can die."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, parent: int = 4711) -> None:
        self.parent = parent
        self.notice = Notice()
        self.left = threading.Event()
        monkeypatch.setattr(orphan, "POLL_S", 0.01)
        monkeypatch.setattr(orphan, "_parent", lambda: self.parent)

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
    monkeypatch.setattr(orphan, "GRACE_S", 0.05)
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
