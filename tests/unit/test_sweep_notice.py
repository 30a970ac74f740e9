"""A sweep's driver hears that it is to leave."""

import signal

import pytest

from lnln_dist.errors import PreemptedError
from lnln_dist.sweep.notice import leave, stop_tune
from lnln_dist.train.leaving import SIGNALS, hearing


@pytest.mark.parametrize("number", SIGNALS)
def test_a_notice_ends_what_runs(number: signal.Signals) -> None:
    with pytest.raises(PreemptedError, match="go on with --resume"), hearing(leave):
        signal.raise_signal(number)
        raise AssertionError("not heard")


def test_tune_hears_of_it_by_its_own_signal() -> None:
    heard: list[int] = []

    with (
        hearing(lambda number, _: heard.append(number), [signal.SIGUSR1]),
        hearing(stop_tune, [signal.SIGTERM]),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGUSR1]
