"""A sweep's driver hears that it is to leave."""

import signal
import threading
from types import FrameType

import pytest

from lnln_dist.errors import PreemptedError
from lnln_dist.sweep.notice import NOTICES, leave, on_notice, stop_tune


@pytest.mark.parametrize("number", NOTICES)
def test_a_notice_ends_what_runs_and_is_forgotten_after(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(PreemptedError, match="go on with --resume"), on_notice(leave):
        signal.raise_signal(number)
        raise AssertionError("not heard")
    assert signal.getsignal(number) is before


def test_tune_hears_of_it_by_its_own_signal() -> None:
    heard = []

    def as_tune(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    with on_notice(as_tune, [signal.SIGUSR1]), on_notice(stop_tune, [signal.SIGTERM]):
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGUSR1]


def test_outside_the_main_thread_nothing_is_changed() -> None:
    """Only the main thread may set handlers: a sweep that a notebook runs aside must still run."""
    problems: list[BaseException] = []

    def aside() -> None:
        try:
            with on_notice(leave):
                pass
        except BaseException as err:
            problems.append(err)

    thread = threading.Thread(target=aside)
    thread.start()
    thread.join()
    assert problems == []
