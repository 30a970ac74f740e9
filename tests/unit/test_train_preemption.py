"""Being told to leave."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from lnln_dist.train.preemption import SIGNALS, Notice


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
    code = "import lnln_dist.train.preemption, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
