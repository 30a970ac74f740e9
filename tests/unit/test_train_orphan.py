"""A launcher that dies is noticed by its ranks."""

import os
import threading
from contextlib import AbstractContextManager

import pytest

from lnln_dist.train import orphan
from lnln_dist.train.orphan import LAUNCHER, watching_launcher


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphan, "POLL_S", 0.01)


class Launcher:
    """A parent that can be killed."""

    def __init__(self) -> None:
        self.pid = 4711
        self.told = threading.Event()
        self.left = threading.Event()

    def watched(self) -> AbstractContextManager[None]:
        return watching_launcher(
            self.told.set,
            environment={LAUNCHER: "job"},
            parent=lambda: self.pid,
            leave=self.left.set,
        )


def test_death_of_the_launcher_is_a_notice_to_leave() -> None:
    launcher = Launcher()
    with launcher.watched():
        assert not launcher.told.wait(0.1)
        launcher.pid = 1
        assert launcher.told.wait(10)
    assert not launcher.left.is_set()


def test_a_rank_that_cannot_leave_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphan, "GRACE_S", 0.05)
    launcher = Launcher()
    with launcher.watched():
        launcher.pid = 1
        assert launcher.left.wait(10)


def test_without_a_launcher_nobody_is_watched() -> None:
    before = threading.active_count()
    with watching_launcher(lambda: None, environment={}):
        assert threading.active_count() == before
    with watching_launcher(lambda: None, environment={LAUNCHER: "job"}, parent=os.getppid):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
