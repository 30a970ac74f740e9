"""Ranks that meet, ranks that miss one another; every rank is a thread here."""

import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from torch import distributed

from lnln_dist.errors import TrainingError
from lnln_dist.runtime import meeting as module
from lnln_dist.runtime.meeting import Meeting, meeting

SHORT = timedelta(seconds=1)
HERE = socket.gethostname()


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    # Threads would count meetings of one process; ranks have a count each.
    monkeypatch.setattr(module, "_meetings", iter(lambda: 0, 1))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}


def meet(
    address: dict[str, str],
    ranks: range,
    act: Callable[[Meeting], Any],
    *,
    world: int,
    timeout: timedelta = timedelta(seconds=30),
) -> list[Any]:
    """What ``act`` gave on every rank, or the error."""
    results: list[Any] = [None] * len(ranks)

    def one(number: int, rank: int) -> None:
        try:
            with meeting(world, timeout, address | {"RANK": str(rank)}) as met:
                assert met is not None
                results[number] = act(met)
        except TrainingError as err:
            results[number] = str(err)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def test_values_are_gathered_in_rank_order(address: dict[str, str]) -> None:
    def act(met: Meeting) -> list[Any]:
        return [met.gather_objects(met.rank * 10), met.gather_objects(["x", {"rank": met.rank}])]

    everyone = [["x", {"rank": n}] for n in range(3)]
    assert meet(address, range(3), act, world=3) == [[[0, 10, 20], everyone]] * 3


def test_the_missing_ranks_are_named(address: dict[str, str]) -> None:
    said = meet(address, range(2), lambda _: "went on", world=4, timeout=SHORT)
    for rank, text in enumerate(said):
        assert text.startswith(
            f"rank {rank} on {HERE} waited 1 s at 127.0.0.1:{address['MASTER_PORT']} "
            "for ranks 2, 3 of 4: "
        )
        assert "train.timeout_s" in text
        assert "\n" not in text


def test_a_rank_that_is_told_to_leave_does_not_wait_long(
    address: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOLD_S", 0.5)
    long = timedelta(seconds=60)
    begin = time.monotonic()
    with (
        pytest.raises(TrainingError, match=r"waited .* for rank 1 of 2"),
        meeting(2, long, address | {"RANK": "0"}, told=lambda: True),
    ):
        pass
    assert time.monotonic() - begin < 30


def test_a_main_host_that_is_not_there_is_named(
    address: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    [text] = meet(address, range(1, 2), lambda _: "went on", world=2, timeout=SHORT)
    place = f"127.0.0.1:{address['MASTER_PORT']}"
    assert text.startswith(
        f"rank 1 on {HERE} does not reach the main host at {place}, where rank 0"
    )
    assert "MASTER_ADDR" in text
    assert "\n" not in text
    capfd.readouterr()  # torch says more on its own


def test_another_service_at_the_address_is_not_waited_for(
    address: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", timedelta(seconds=0.2))
    with socket.socket() as silent:  # takes the connection and never answers
        silent.bind(("127.0.0.1", int(address["MASTER_PORT"])))
        silent.listen()
        begin = time.monotonic()
        [text] = meet(address, range(1, 2), lambda _: "went on", world=2, timeout=SHORT)
    assert time.monotonic() - begin < 30
    assert "does not reach the main host" in text
    assert "something else answers there" in text


def test_a_port_in_use_is_told_as_one(address: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("", int(address["MASTER_PORT"])))
        taken.listen()
        [text] = meet(address, range(1), lambda _: "went on", world=2, timeout=SHORT)
    assert f"cannot listen on 127.0.0.1:{address['MASTER_PORT']}" in text
    assert "choose a free port" in text


def test_who_keeps_the_meeting_waits_until_all_have_read(address: dict[str, str]) -> None:
    def refuse(met: Meeting) -> None:
        if met.rank:  # reads late, when rank 0 has given up
            threading.Event().wait(0.5)
        found = met.gather_objects(met.rank)
        raise TrainingError(f"refused {found}")

    assert meet(address, range(2), refuse, world=2) == ["refused [0, 1]"] * 2


@pytest.mark.parametrize(
    ("world", "left_out"), [(1, ""), (2, "RANK"), (2, "MASTER_ADDR"), (2, "MASTER_PORT")]
)
def test_there_is_none_where_nobody_or_no_address_is(world: int, left_out: str) -> None:
    given = {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    given.pop(left_out, None)
    with meeting(world, SHORT, given) as met:
        assert met is None


def test_there_is_none_within_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    with meeting(2, SHORT, {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}) as met:
        assert met is None
