"""A sum over ranks in processes of their own, over gloo instead of NCCL."""

import threading
from typing import Any

import pytest

from lnln_dist.doctor import nccl


class Member:
    """One of two ranks, alone in its thread, that knows what rank 0 says."""

    world = 2

    def __init__(self, rank: int, port: int) -> None:
        self.rank, self._port = rank, port

    def gather_objects(self, value: object) -> list[Any]:
        return [self._port, value]


@pytest.fixture
def port() -> int:
    return nccl.free_port()


def test_a_sum_that_is_right(port: int) -> None:
    found = ["?", "?"]

    def run(rank: int) -> None:
        found[rank] = nccl.sum_over_gpus(Member(rank, port), timeout_s=100, backend="gloo")

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["", ""]


def test_a_peer_that_never_answers_is_reported(port: int) -> None:
    problem = nccl.sum_over_gpus(Member(0, port), timeout_s=3, backend="gloo")
    assert problem == "no answer within 3 s"


def test_an_error_is_its_last_line(port: int) -> None:
    alone = Member(0, port)
    alone.world = 1
    problem = nccl.sum_over_gpus(alone, timeout_s=100, backend="carrier-pigeon")
    assert "carrier-pigeon" in problem
    assert "\n" not in problem
