"""Whose fault it is that a group of processes ended."""

import json
from dataclasses import asdict

import pytest

from lnln_dist.errors import TransientError
from lnln_dist.sweep.trial import Outcome
from lnln_dist.sweep.tune.workers import TrialEndedError, _own_fault


class GroupError(Exception):
    """What Ray Train raises: an error per process."""

    def __init__(self, **failures: BaseException) -> None:
        super().__init__("training failed")
        self.worker_failures = dict(enumerate(failures.values()))


class WrappedError(Exception):
    """What Ray makes of an error in another process."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


ENDED = Outcome(status="failed", reason="loss not finite", host="node1")
FAULT = WrappedError(TrialEndedError(json.dumps(asdict(ENDED))))
LOST = WrappedError(TransientError("lost the other processes"))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (GroupError(a=FAULT, b=FAULT), ENDED),
        (GroupError(a=LOST, b=FAULT), ENDED),  # the one that ended was the one that is missed
        (GroupError(a=LOST, b=RuntimeError("ActorDiedError: node gone")), None),
        (GroupError(a=LOST), None),
        (RuntimeError("no group at all"), None),
    ],
)
def test_own_fault(error: Exception, outcome: Outcome | None) -> None:
    assert _own_fault(error) == outcome
