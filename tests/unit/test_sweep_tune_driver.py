"""The director's stretches as Tune's trials."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sweep_standin import make_director

from lnln_dist.sweep.estimate import estimate
from lnln_dist.sweep.live import Board
from lnln_dist.sweep.trial import Outcome

pytest.importorskip("ray", reason="Ray is an extra")

from ray.tune.search import Searcher

from lnln_dist.sweep.tune.driver import Source


def source(path: Path, slots: int = 2) -> Source:
    director = make_director(path)
    return Source(director, Board(director, estimate(director.space)), lambda: slots)


def test_no_more_stretches_than_slots(tmp_path: Path) -> None:
    made = source(tmp_path)
    jobs = [made.suggest(str(number)) for number in range(3)]
    assert [job is not None for job in jobs] == [True, True, False]


def ended(outcome: Outcome) -> dict[str, Any]:
    return {"told": "", "outcome": json.dumps(asdict(outcome))}


def test_a_full_disk_stops_the_sweep_and_fails_nobody(tmp_path: Path) -> None:
    made = source(tmp_path)
    made.suggest("one")
    made.on_trial_result("one", ended(Outcome(status="no room", reason="the disk is full")))
    made.on_trial_complete("one")
    assert made.halted == "the disk is full"
    assert made.suggest("two") == Searcher.FINISHED
    again = make_director(tmp_path)
    assert not any(record.failure for record in again.records.values())
    assert not again.over


def test_a_trial_is_given_up_after_its_retries(tmp_path: Path) -> None:
    made = source(tmp_path, slots=1)
    for number in range(4):  # three retries by default
        made.suggest(str(number))
        made.broke(str(number), "ActorDiedError: gone")
    reasons = [r.failure for r in make_director(tmp_path).records.values() if r.failure]
    assert reasons == ["ActorDiedError: gone"]
