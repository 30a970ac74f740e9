"""Errors of lost peers, and errors that are not."""

from types import SimpleNamespace as Namespace

import pytest
from torch import distributed

from lnln_dist.errors import TransientError
from lnln_dist.train.lost import explain_lost_peers

GLOO = "[../gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 15000ms for recv\nmore"


def failing(err: Exception, *, rank: int = 3, world: int = 4) -> None:
    with explain_lost_peers(Namespace(rank=rank, world=world), 15):
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
