"""Ranks that differ are named, on every rank alike."""

import socket
import threading
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from lnln_dist import __version__, settings
from lnln_dist.errors import TrainingError
from lnln_dist.runs import source_hash
from lnln_dist.runtime.launch import Launch
from lnln_dist.train import consistency
from lnln_dist.train.consistency import check_equal_on_ranks, facts_of


class Gathering:
    """Ranks as threads: a gather waits for all of them."""

    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world)
        self.rounds: dict[int, list[object]] = {}
        self.world = world

    def rank(self, number: int) -> SimpleNamespace:
        turn = iter(range(10))

        def gather(value: object) -> list[object]:
            values = self.rounds.setdefault(next(turn), [None] * self.world)
            values[number] = value
            self.barrier.wait(timeout=10)
            return values

        return SimpleNamespace(gather_objects=gather)


def outcome(*facts: Mapping[str, object]) -> list[str]:
    """What every rank says: "" or its error."""
    group = Gathering(len(facts))
    said = [""] * len(facts)

    def run(number: int) -> None:
        try:
            check_equal_on_ranks(group.rank(number), facts[number])
        except TrainingError as err:
            said[number] = str(err)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(facts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return said


def test_equal_ranks_go_on() -> None:
    assert outcome({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}) == ["", ""]


def test_the_rank_the_key_and_both_values_are_named_everywhere() -> None:
    same = {"optim.lr": 1e-4, "data hash": "abc"}
    said = outcome(same, same, same | {"optim.lr": 1e-3})
    here = socket.gethostname()
    assert len(set(said)) == 1
    assert (
        f"ranks differ: optim.lr: 0.001 on rank 2 ({here}), 0.0001 on rank 0 ({here}):" in said[0]
    )
    assert "data hash" not in said[0]


def test_a_key_that_a_rank_lacks() -> None:
    said = outcome({"version of deepspeed": "1"}, {})
    assert "version of deepspeed: missing on rank 1" in said[0]


def test_many_differences_are_counted() -> None:
    one, other = ({f"key{n}": side for n in range(8)} for side in (0, 1))
    said = outcome(one, other, other)
    assert "key0: 1 on rank 1" in said[0]
    assert "and 1 more, 0 on rank 0" in said[0]
    assert said[0].count("on rank 0") == consistency.SHOWN
    assert "; and 3 more:" in said[0]


def facts(raw: dict, data_hash: str = "x") -> dict[str, object]:
    return facts_of(settings.build(raw), SimpleNamespace(data_hash=lambda: data_hash))


def test_what_has_to_be_equal() -> None:
    base = facts({})
    assert base["data hash"] == "x"
    assert {"version of torch", "version of python", "train.micro_batch"} <= base.keys()
    assert facts({}, "y") != base
    # It changes how often ranks meet, although not what is computed.
    assert facts({"train": {"micro_batch": 4}}) != base
    assert facts({"optim": {"lr": 1e-3}}) != base


def test_hosts_may_keep_and_read_the_data_in_their_own_way() -> None:
    assert facts({"data": {"path": "/scratch/mosi", "workers": 7, "prefetch": 2}}) == facts({})


def launched(**changes: object) -> dict[str, object]:
    plain = {"precision": "fp32", "strategy": "ddp", "offload": False, "on_cpu": True}
    launch = Launch(**{**plain, "world": 2, "deepspeed": {}, **changes})
    return facts_of(settings.build({}), SimpleNamespace(data_hash=lambda: "x"), launch)


def test_what_a_launcher_decides_has_to_be_equal_too() -> None:
    base = launched()
    assert base["launch.device"] == "cpu"
    for key, changes in {
        "launch.strategy": {"strategy": "fsdp2"},
        "launch.offload": {"offload": True},
        "launch.device": {"on_cpu": False},
        "launch.deepspeed.zero_optimization.stage": {
            "deepspeed": {"zero_optimization": {"stage": 2}}
        },
    }.items():
        said = outcome(base, launched(**changes))
        assert said[0].startswith(f"ranks differ: {key}: ")
        assert said[0].count("on rank 0") == 1


def test_so_has_the_file_of_a_users_model(monkeypatch: pytest.MonkeyPatch) -> None:
    held = facts({"model": {"name": "own_model:SPEC"}})
    monkeypatch.setattr(consistency, "code_sha256", lambda _: "f" * 64)
    said = outcome(held, facts({"model": {"name": "own_model:SPEC"}}))
    assert said[0].startswith("ranks differ: hash of the model's file: 'ffffffffffff' on rank 1")


def test_so_has_the_code_of_the_package() -> None:
    base = facts({})
    assert base["version of lnln_dist"] == __version__
    assert base["source hash of lnln_dist"] == source_hash()[:12]
