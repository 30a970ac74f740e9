"""Clips side by side: a crash costs one of them, progress counts all."""

import os
import signal

import pytest

from lnln_dist.clips import pool
from lnln_dist.clips.choices import Extractor
from lnln_dist.clips.features import Job
from lnln_dist.clips.pool import CRASH, run_all

pytest.importorskip("av")
HEARD = Extractor(audio="loudness", vision="none")


def _crash_on_one(job, extractor):
    if job.id == "bad":
        os.kill(os.getpid(), signal.SIGSEGV)
    job.target.write_bytes(b"x")


def test_a_decoder_that_crashes_costs_one_clip(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_try", _crash_on_one)
    jobs = [Job(name, None, None, tmp_path / name) for name in ("a", "bad", "b", "c")]
    assert run_all(jobs, HEARD, workers=2) == {"bad": "the decoder crashed on it"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_what_runs_elsewhere_is_counted_the_same(tmp_path):
    def tasks(function, jobs, extractor):
        assert function is pool._try
        for job in reversed(jobs):
            yield job, {"a": None, "b": "damaged", "c": CRASH}[job.id]

    (tmp_path / "there").touch()
    jobs = [Job(name, None, None, tmp_path / name) for name in ("a", "there", "b", "c")]
    counted = []
    failed = run_all(
        jobs, HEARD, workers=1, tasks=tasks, progress=lambda done, total: counted.append(done)
    )
    assert failed == {"b": "damaged", "c": CRASH}
    assert counted == [1, 2, 3, 4]
