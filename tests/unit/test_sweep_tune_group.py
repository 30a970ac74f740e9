"""Whose fault it is that a group of processes ended."""

import pytest

from lnln_dist.errors import StorageError, TransientError
from lnln_dist.sweep.trial import TrialFailedError
from lnln_dist.sweep.tune.group import _own_fault


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


FAULT = TrialFailedError("loss not finite")
FULL = StorageError("the disk is full")
LOST = WrappedError(TransientError("lost the other processes"))


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (GroupError(a=WrappedError(FAULT), b=WrappedError(FAULT)), FAULT),
        (GroupError(a=LOST, b=WrappedError(FAULT)), FAULT),  # it is the one that is missed
        (GroupError(a=WrappedError(FULL), b=LOST), FULL),
        (GroupError(a=LOST, b=RuntimeError("ActorDiedError: node gone")), None),
        (GroupError(a=LOST), None),
        (RuntimeError("no group at all"), None),
    ],
)
def test_own_fault(error: Exception, fault: Exception | None) -> None:
    assert _own_fault(error) is fault
