"""Speed readings of one rank, and of all together."""

import json
import time

import pytest
import torch

from lnln_dist.monitor.health import Meter, over_ranks


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


def test_a_step_is_split_into_its_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    meter = Meter()
    for _ in range(2):  # two steps of two micro-batches
        for _ in range(2):
            with meter.phase("forward"):
                clock[0] += 1.0
            with meter.phase("backward"):
                clock[0] += 2.0
        with meter.phase("update"):
            clock[0] += 0.5
        meter.step(8)
    values = meter.read()
    assert values["speed/forward_ms"] == pytest.approx(2000)
    assert values["speed/backward_ms"] == pytest.approx(4000)
    assert values["speed/update_ms"] == pytest.approx(500)
    assert values["speed/step_ms"] == pytest.approx(6500)
    again = meter.read()
    assert again["speed/forward_ms"] == again["speed/update_ms"] == 0


@pytest.mark.parametrize(("peak", "work"), [(None, 5.0), (100.0, 0.0)])
def test_utilisation_needs_a_known_peak_and_counted_work(peak: float | None, work: float) -> None:
    meter = Meter(peak_flops=peak)
    meter.work(work)
    assert "speed/mfu" not in meter.read()


def test_utilisation_is_work_over_time_over_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    meter = Meter(peak_flops=1000.0)
    meter.work(600.0)
    meter.work(200.0)
    clock[0] = 4.0
    assert meter.read()["speed/mfu"] == pytest.approx(0.2)
    clock[0] = 8.0
    assert "speed/mfu" not in meter.read()


def test_a_gpu_is_timed_by_marks_in_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = iter([10.0, 14.0])  # ms on the GPU, whatever the host's clock says
    waited = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = next(queue)

        def synchronize(self) -> None:
            waited.append(self)

        def elapsed_time(self, end: "Event") -> float:
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    meter = Meter(device=torch.device("cuda", 0))
    with meter.phase("forward"):
        pass
    meter.step(1)
    assert not waited  # marking must not make the host wait
    assert meter.read()["speed/forward_ms"] == pytest.approx(4.0)


def reading(wait: float, forward: float, speed: float = 100.0, **more: float) -> dict[str, float]:
    base = {"samples_per_s": speed, "step_ms": 50.0, "data_wait_share": 0.1}
    own = {"data_wait_ms": wait, "forward_ms": forward, "backward_ms": 20.0, "update_ms": 5.0}
    return {f"speed/{k}": v for k, v in {**base, **own, **more}.items()}


def test_the_slowest_rank_is_the_one_busy_alone_the_longest() -> None:
    readings = [
        reading(1, 10, mfu=0.4),
        reading(30, 10, backward_ms=2, mfu=0.2),
        reading(1, 12, backward_ms=90, mfu=0.3),
    ]
    found = over_ranks(readings, [2**30, 2**31, 2**30])
    assert found.slowest_rank == 1
    assert found.values["ranks/slowest"] == 1.0
    assert found.values["ranks/slowest_over_median"] == pytest.approx(40 / 13)
    assert found.values["ranks/1/alone_ms"] == 40
    assert found.values["speed/data_wait_ms"] == 30
    assert found.values["speed/mfu"] == pytest.approx(0.3)
    assert found.values["memory/peak_gib"] == found.values["ranks/1/peak_gib"] == 2.0
    assert [r["peak_gib"] for r in found.ranks] == [1.0, 2.0, 1.0]
    assert found.ranks[2]["backward_ms"] == 90
    assert json.loads(json.dumps(found.ranks)) == found.ranks


def test_one_rank_has_no_tags_of_ranks() -> None:
    found = over_ranks([reading(1, 2)], [2**30])
    assert not any(tag.startswith("ranks/") for tag in found.values)
    assert (found.slowest_rank, len(found.ranks)) == (0, 1)


def test_many_ranks_do_not_flood_the_tags() -> None:
    found = over_ranks([reading(1, rank) for rank in range(40)], [2**30] * 40)
    tags = [tag for tag in found.values if tag.startswith("ranks/")]
    assert tags == ["ranks/slowest", "ranks/slowest_over_median"]
    assert (found.slowest_rank, len(found.ranks)) == (39, 40)
