"""Checks of launch, data, encoder and memory."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_runs
from encoder_files import write_bert

from lnln_dist.config import Config, EncoderConfig, TrainConfig
from lnln_dist.doctor import job
from lnln_dist.doctor.findings import Finding
from lnln_dist.models import encoder as encoders
from lnln_dist.specs.lnln import LNLNConfig
from lnln_dist.specs.registry import make_config

MIB, GIB = 2**20, 2**30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "data"
    tiny_runs.write_data(folder)
    return folder


def made(
    data: Path,
    *,
    card: int | None = None,
    host: int | None = None,
    processes: int = 1,
    **train: object,
) -> job.Job:
    config = make_config(model=tiny_runs.MODEL, train=TrainConfig(**train))
    index, _ = job.open_data(str(data))
    return job.Job(
        config=config, index=index, processes=processes, card_bytes=card, host_bytes=host
    )


def in_use(given: job.Job, strategy: str = "ddp") -> Finding:
    _, findings = job.check_memory(given)
    return next(f for f in findings if f.check == f"memory, {strategy}")


def test_data(data: Path, tmp_path: Path) -> None:
    index, found = job.open_data(str(data))
    assert index is not None
    assert (found.level, index.data_hash()[:12] in found.found) == ("ok", True)
    index, found = job.open_data(str(tmp_path / "none"))
    assert (index, found.level) == (None, "fail")
    assert "lnln-dist prepare" in found.remedy
    assert job.open_data("")[1].level == "warn"


def test_a_launch_that_training_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ddp in fp32 on CPU" in job.check_launch(job.launch_of(make_config(), cpu=True)).found
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    found = job.check_launch(job.launch_of(make_config(), cpu=True))
    assert (found.level, found.remedy) == ("fail", "set train.precision to match")


def encoder(name: str | Path) -> Config:
    return make_config(model=LNLNConfig(encoder=EncoderConfig(name=str(name))))


def test_an_encoder_that_is_here(tmp_path: Path) -> None:
    assert job.check_encoder(encoder("tiny")).level == "ok"
    folder = write_bert(tmp_path / "bert")
    assert job.check_encoder(encoder(folder)).level == "ok"
    (folder / "model.safetensors").unlink()
    assert "without weights" in job.check_encoder(encoder(folder)).found
    assert job.check_encoder(encoder(tmp_path / "none")).level == "fail"


@pytest.mark.parametrize(
    ("offline", "cached", "level"), [("why", [], "fail"), ("", [], "warn"), ("why", "all", "ok")]
)
def test_an_encoder_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, offline: str, cached: str, level: str
) -> None:
    monkeypatch.setattr(encoders, "why_offline", lambda: offline)
    monkeypatch.setattr(
        job, "try_to_load_from_cache", lambda _, file: f"/cache/{file}" if cached else None
    )
    found = job.check_encoder(encoder("bert-base-uncased"))
    assert found.level == level
    assert level == "ok" or "hf download bert-base-uncased" in found.remedy


def test_memory_of_every_strategy_is_estimated(data: Path) -> None:
    counted, findings = job.check_memory(made(data))
    assert counted is not None
    assert findings[0].found == f"{counted.trained / 1e6:.1f} M trained parameters"
    assert [f.check for f in findings[1:]] == [
        f"memory, {s}" for s in ("ddp", "zero1", "zero2", "zero3", "fsdp2")
    ]
    assert all("GiB estimated per process of 1, 64 samples a pass" in f.found for f in findings[1:])


@pytest.mark.parametrize(
    ("card", "level"), [(64 * 1024, "fail"), (200 * MIB, "warn"), (8 * GIB, "ok")]
)
def test_only_the_strategy_in_use_is_held_against_the_card(
    data: Path, card: int, level: str
) -> None:
    _, findings = job.check_memory(made(data, card=card, strategy="zero2"))
    levels = {f.check: f.level for f in findings}
    assert levels.pop("memory, zero2") == level
    assert set(levels.values()) == {"ok"}


def test_micro_batch_and_processes_make_a_pass_smaller(data: Path) -> None:
    _, findings = job.check_memory(made(data, processes=8))
    assert "of 8, 8 samples a pass" in findings[1].found
    _, findings = job.check_memory(made(data, processes=2, micro_batch=5))
    assert "of 2, 5 samples a pass" in findings[1].found
    _, findings = job.check_memory(made(data, strategy="zero1", offload=True))
    assert [f.check for f in findings if "on the host" in f.found] == ["memory, zero1"]


def test_an_automatic_micro_batch_is_as_small_as_it_has_to_be(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "HEADROOM", 0)
    whole = in_use(made(data, batch_size=4096, card=8 * GIB))
    assert whole.level == "ok"
    assert "4096 samples a pass" in whole.found
    small = 16 * MIB
    assert in_use(made(data, batch_size=4096, card=small)).level == "fail"
    chosen = in_use(made(data, batch_size=4096, auto_micro_batch=True, card=small))
    assert (chosen.level, "of 4096 (train.auto_micro_batch)" in chosen.found) == ("ok", True)
    size = int(chosen.found.split(" samples a pass")[0].split()[-1])
    assert 1 < size < 4096
    none = in_use(made(data, batch_size=4096, auto_micro_batch=True, card=64 * 1024))
    assert (none.level, "1 samples a pass" in none.found) == ("fail", True)


@pytest.mark.parametrize(
    ("train", "advised", "not_advised"),
    [
        ({}, ["auto_micro_batch", "bf16", "checkpoint_activations"], ["zero2"]),
        ({"auto_micro_batch": True}, ["bf16", "checkpoint_activations"], ["auto_micro_batch"]),
        ({"micro_batch": 8}, ["a smaller train.micro_batch"], ["auto_micro_batch"]),
        ({"precision": "bf16"}, ["auto_micro_batch"], ["bf16"]),
    ],
)
def test_nothing_is_advised_that_is_set_already(
    data: Path, train: dict[str, object], advised: list[str], not_advised: list[str]
) -> None:
    remedy = in_use(made(data, card=64 * 1024, **train)).remedy
    assert all(part in remedy for part in advised)
    assert not [part for part in not_advised if part in remedy]
    assert "zero2" in in_use(made(data, card=64 * 1024, processes=2, **train)).remedy


@pytest.mark.parametrize(("host", "level"), [(64 * 1024, "fail"), (8 * GIB, "ok"), (None, "ok")])
def test_a_run_on_the_cpu_is_held_against_the_host(
    data: Path, host: int | None, level: str
) -> None:
    found = in_use(made(data, host=host))
    assert found.level == level
    assert ("of the host's memory are free for each process" in found.found) == (level == "fail")


def test_offloading_takes_memory_of_the_host(data: Path) -> None:
    needs = {"strategy": "zero1", "offload": True, "card": 8 * GIB}
    assert in_use(made(data, host=8 * GIB, **needs), "zero1").level == "ok"
    short = in_use(made(data, host=1024, **needs), "zero1")
    assert (short.level, "train.offload" in short.remedy) == ("fail", True)
    assert in_use(made(data, host=1024, card=8 * GIB)).level == "ok"


def test_memory_of_the_host_for_each_of_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "available_bytes", lambda: 8 * GIB)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert job.host_bytes(None, planned=False) == 8 * GIB
    # For other hosts than this one.
    assert job.host_bytes(8, planned=True) is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert job.host_bytes(None, planned=False) == 2 * GIB
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    monkeypatch.setattr(job.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(job.torch.cuda, "device_count", lambda: 4)
    assert job.host_bytes(64, planned=True) == 2 * GIB
    monkeypatch.setattr(job, "available_bytes", lambda: None)
    assert job.host_bytes(None, planned=False) is None


def test_without_data_there_is_nothing_to_estimate(data: Path) -> None:
    assert job.check_memory(replace(made(data), index=None)) == (None, [])


def test_an_encoder_that_does_not_fit_the_data_is_a_finding(data: Path, tmp_path: Path) -> None:
    given = made(data)
    config = replace(given.config, model=encoder(write_bert(tmp_path / "bert")).model)
    counted, (found,) = job.check_memory(replace(given, config=config))
    assert (counted, found.check, found.level) == (None, "model", "fail")


def test_a_run_needs_disk_for_its_checkpoints(data: Path) -> None:
    given = made(data, keep_checkpoints=3)
    counted, _ = job.check_memory(given)
    assert job.disk_bytes(given, counted) == (4 * 12 + 8) * counted.trained
    assert job.disk_bytes(given, None) == 5 * GIB


def test_what_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert (job.processes(None), job.processes(2)) == (6, 2)
    assert job.card_bytes(1.5) == 3 * GIB // 2
