"""Checks that take several ranks, with threads for ranks."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lnln_dist.doctor import ranks
from lnln_dist.doctor.findings import Finding


class Gathering:
    """Ranks as threads: a gather waits for all of them."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.barrier = threading.Barrier(world)
        self.rounds: dict[int, list[object]] = {}


class Member:
    def __init__(self, shared: Gathering, rank: int) -> None:
        self.shared, self.rank, self.world, self.turn = shared, rank, shared.world, 0

    def gather_objects(self, value: object) -> list[object]:
        values = self.shared.rounds.setdefault(self.turn, [None] * self.world)
        self.turn += 1
        values[self.rank] = value
        self.shared.barrier.wait(timeout=20)
        return values


def together(world: int, action: Callable[[Member], object]) -> list[object]:
    shared = Gathering(world)
    results: list[object] = [None] * world

    def run(rank: int) -> None:
        results[rank] = action(Member(shared, rank))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return results


def test_a_shared_folder_is_seen_by_all_and_left_clean(tmp_path: Path) -> None:
    found = together(3, lambda member: ranks.check_shared(member, tmp_path))
    assert {f.level for f in found} == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "SEEN_S", 0.2)
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    found = together(2, lambda member: ranks.check_shared(member, places[member.rank]))
    assert found[0] == found[1]
    assert "rank 1" in found[0].found
    assert "does not see rank 0's file" in found[0].found
    assert all(not list(place.iterdir()) for place in places)


def test_a_rank_whose_files_do_not_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 sees everything, but what it writes stays on its own host."""
    monkeypatch.setattr(ranks, "SEEN_S", 0.2)
    write = ranks._write

    def lost(path: Path, content: str) -> str:
        return "" if path.name.endswith("-1") else write(path, content)

    monkeypatch.setattr(ranks, "_write", lost)
    found = together(2, lambda member: ranks.check_shared(member, tmp_path))
    assert found[0].level == "fail"
    assert "rank 0 does not see rank 1's file" in found[0].found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    found = together(2, lambda member: ranks.check_shared(member, tmp_path / "none"))
    assert "cannot write" in found[0].found
    assert {f.level for f in found} == {"fail"}


@pytest.mark.parametrize(("ahead", "level"), [(0.0, "ok"), (5.0, "warn"), (3600.0, "fail")])
def test_clocks(ahead: float, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    mine = threading.local()
    monkeypatch.setattr(time, "time", lambda: now() + getattr(mine, "ahead", 0.0))

    def look(member: Member) -> Finding:
        mine.ahead = ahead * member.rank
        return ranks._clocks(member)

    assert {f.level for f in together(2, look)} == {level}


def test_ranks_that_differ_fail_alike(tmp_path: Path) -> None:
    def check(member: Member) -> list[Finding]:
        facts = {"optim.lr": 0.1 * (member.rank + 1)}
        return ranks.check_ranks(member, facts, shared=tmp_path)

    one, other = together(2, check)
    assert [f.check for f in one] == ["ranks", "agreement", "clocks", "shared folder"]
    assert one[1] == other[1]
    assert "optim.lr: 0.2 on rank 1" in one[1].found
    assert one[1].level == "fail"


def test_gpus_on_some_ranks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = threading.local()
    monkeypatch.setattr(ranks.torch.cuda, "is_available", lambda: getattr(seen, "gpu", False))

    def check(member: Member) -> list[Finding]:
        seen.gpu = member.rank > 0
        return ranks._cards(member)

    one, other, _ = together(3, check)
    assert one == other
    assert (one[0].check, one[0].level) == ("devices of ranks", "fail")
    assert "rank 0 (" in one[0].found
    assert "CUDA_VISIBLE_DEVICES" in one[0].remedy
    monkeypatch.setattr(ranks.torch.cuda, "is_available", lambda: False)
    assert together(2, ranks._cards) == [[], []]


@pytest.mark.parametrize(("problem", "level"), [("", "ok"), ("no answer within 45 s", "fail")])
def test_a_sum_over_the_gpus(monkeypatch: pytest.MonkeyPatch, problem: str, level: str) -> None:
    monkeypatch.setattr(ranks.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ranks.torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(ranks.nccl, "sum_over_gpus", lambda group, *, timeout_s: problem)
    assert ranks.NCCL_S < ranks.TIMEOUT_S
    for (found,) in together(2, ranks._cards):
        assert (found.check, found.level) == ("nccl between GPUs", level)
        assert problem in found.found


def test_several_hosts_want_a_shared_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    name = threading.local()
    monkeypatch.setattr(ranks.socket, "gethostname", lambda: getattr(name, "host", "x"))

    def check(member: Member) -> list[Finding]:
        name.host = f"host{member.rank}"
        return ranks.check_ranks(member, {}, shared=None)

    one, _ = together(2, check)
    assert one[0].found == "2 on 2 host(s) reach one another"
    assert (one[-1].check, one[-1].level) == ("shared folder", "warn")


def test_one_rank_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks.grouped() as group:
        assert group.gather_objects("x") == ["x"]
    assert not ranks.distributed.is_initialized()


def test_ranks_that_do_not_find_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")  # nobody listens there
    with pytest.raises(ranks.TrainingError, match=r"rank 1 on .* does not reach the others"):
        ranks.Group(timeout_s=1)
