"""Events and JSON lines."""

import json
import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lnln_dist.monitor.writer import Writer, layout, mean_tag, rate_tag


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "events"), size_guidance={"scalars": 0}).Reload()


def test_values_reach_lines_and_events(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.log("train", 1, {"loss/total": 2.0}, epoch=1)
    writer.log("train", 2, {"loss/total": 1.0, "valid/corr/mean": float("nan")}, epoch=1)
    writer.close()
    assert [(line["step"], line["loss/total"]) for line in lines(tmp_path)] == [(1, 2.0), (2, 1.0)]
    assert lines(tmp_path)[1]["valid/corr/mean"] is None
    read = events(tmp_path)
    assert [(s.step, s.value) for s in read.Scalars("loss/total")] == [(1, 2.0), (2, 1.0)]
    assert "valid/corr/mean" not in read.Tags()["scalars"]


def test_resuming_takes_back_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for step in (1, 2, 3):
        writer.log("train", step, {"x": float(step)})
    writer.close()
    with (tmp_path / "log.jsonl").open("a") as handle:
        handle.write('{"step": 4, "cut sho')
    writer = Writer(tmp_path, start_step=2)
    writer.log("train", 3, {"x": 30.0})
    writer.close()
    assert [line["x"] for line in lines(tmp_path)] == [1.0, 2.0, 30.0]
    assert [(s.step, s.value) for s in events(tmp_path).Scalars("x")][-1] == (3, 30.0)


def test_a_run_killed_before_its_first_checkpoint_leaves_no_points(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.describe("a: 1", {"a": 1}, ["valid/mae/mean"], {})
    for step in (1, 2, 3):
        writer.log("train", step, {"x": float(step)})
    writer.close()
    writer = Writer(tmp_path, start_step=0)
    writer.log("train", 1, {"x": 10.0})
    writer.close()
    assert [line["x"] for line in lines(tmp_path)] == [10.0]
    assert [(s.step, s.value) for s in events(tmp_path).Scalars("x")] == [(1, 10.0)]


def test_the_run_is_described_in_its_own_folder(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.describe("a: 1", {"a": 1, "b": None, "c": [1]}, ["valid/mae/mean"], {})
    writer.close()
    assert not [p for p in (tmp_path / "events").iterdir() if p.is_dir()]
    tags = events(tmp_path).Tags()
    assert "config/text_summary" in tags["tensors"]
    plugins = events(tmp_path).summary_metadata
    assert "_hparams_/experiment" in plugins
    assert "_hparams_/session_start_info" in plugins


@pytest.mark.parametrize(("rate", "tag"), [(0.2, "valid/mae/r0.2"), (0.25, "valid/mae/r0.25")])
def test_tags(rate: float, tag: str) -> None:
    assert rate_tag("valid", "mae", rate) == tag
    assert mean_tag("valid", "mae") == "valid/mae/mean"


@pytest.mark.parametrize("damaged", [b"\xff\xfe\x00\n", b'{"step": "x"}\n', b"[1]\n"])
def test_a_damaged_line_of_the_log_is_left_out(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1, "x": 1.0}\n' + damaged)
    Writer(tmp_path, start_step=2).close()
    assert [line["x"] for line in lines(tmp_path)] == [1.0]


def test_every_chart_of_the_custom_page_finds_its_tags_and_no_others() -> None:
    tags = [
        *("loss/total", "loss/sentiment", "loss_weighted/sentiment", "completeness/label"),
        *("optim/lr/encoder", "optim/grad_norm", "speed/forward_ms", "speed/step_ms"),
        *(rate_tag("valid", "mae", rate) for rate in (0.0, 0.2, 0.25)),
        "valid/mae/mean",
    ]
    charts = layout("valid", ["mae"], [0.0, 0.2, 0.25])
    assert list(charts) == ["valid by missing rate", "training"]

    def found(page: str, chart: str) -> list[str]:
        kind, patterns = charts[page][chart]
        assert kind == "Multiline"
        # As TensorBoard does: all patterns as one, from the beginning of a tag.
        whole = re.compile("|".join(f"({pattern})" for pattern in patterns))
        return [tag for tag in tags if whole.match(tag)]

    assert found("valid by missing rate", "mae") == tags[8:11]
    assert found("training", "loss terms") == ["loss/sentiment"]
    assert found("training", "total loss") == ["loss/total"]
    assert found("training", "milliseconds of a step") == ["speed/forward_ms"]
    assert all(found("training", chart) for chart in charts["training"])
