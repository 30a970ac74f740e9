"""Speed readings."""

import time

import pytest

from lnln_dist.monitor.health import Meter


def test_waiting_is_told_from_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slow():
        for number in range(2):
            clock[0] += 3.0
            yield number

    meter = Meter()
    for _ in meter.waiting(slow()):
        clock[0] += 1.0
        meter.step(32)
    values = meter.read()
    assert values["speed/samples_per_s"] == pytest.approx(64 / 8)
    assert values["speed/step_ms"] == pytest.approx(4000)
    assert values["speed/data_wait_share"] == pytest.approx(6 / 8)


def test_a_pause_is_left_out_and_reading_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    meter = Meter()
    clock[0] = 10.0
    meter.pause(8.0)
    meter.step(4)
    assert meter.read()["speed/samples_per_s"] == pytest.approx(2.0)
    clock[0] = 11.0
    meter.step(5)
    assert meter.read()["speed/samples_per_s"] == pytest.approx(5.0)
