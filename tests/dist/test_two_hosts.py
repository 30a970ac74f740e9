"""Training across two hosts with a network between them, which can be cut.

The hosts are network namespaces; without the right to make them all of this is skipped.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import TINY
from launcher import run_command
from two_hosts import Hosts, exit_codes, two_hosts, wait_until, workers

pytest.importorskip("deepspeed", reason="one of the runs across hosts is ZeRO's")
pytestmark = [pytest.mark.dist, pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS = 8
TIMEOUT_S = 25  # of a silent peer; hosts may start that far apart on a busy machine
CONFIGS = {"ddp": [], "zero2": ["--accelerate-config", "launch/accelerate/zero2.yaml"]}


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with two_hosts() as made:
        yield made


def training(corpus: Path, output: Path) -> list[str]:
    options = {
        "config": TINY,
        "data.path": corpus / "data",
        "train.epochs": EPOCHS,
        "train.checkpoint_steps": 2,
        "train.timeout_s": TIMEOUT_S,
        "output": output,
    }
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of two processes on one host, by strategy."""
    runs = {}
    for name, config in CONFIGS.items():
        folder = tmp_path_factory.mktemp(name)
        line = ["bash", "launch/local.sh", "--cpu", "2", "--port", "29471", *config, "--"]
        line += training(corpus, folder / "run")
        code, said = run_command(line, folder=folder, timeout_s=200)
        assert code == 0, said
        runs[name] = folder / "run"
    return runs


def curve(run: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [(line["step"], line["loss/total"]) for line in lines if line["kind"] == "train"]


def checkpoints(run: Path) -> list[Path]:
    return sorted(path.parent for path in (run / "checkpoints").glob("step-*/state.json"))


def weights(run: Path) -> bytes:
    return (checkpoints(run)[-1] / "model.safetensors").read_bytes()


def said(logs: Path) -> list[str]:
    return [logs.with_suffix(f".host{rank}").read_text(errors="replace") for rank in range(2)]


@pytest.mark.parametrize("strategy", CONFIGS)
def test_two_hosts_train_as_one_does(
    hosts: Hosts, corpus: Path, undisturbed: dict[str, Path], tmp_path: Path, strategy: str
) -> None:
    run, logs = tmp_path / "run", tmp_path / "log"
    children = hosts.multinode(CONFIGS[strategy], training(corpus, run), logs=logs)
    assert exit_codes(children, timeout_s=200) == [0, 0], said(logs)
    assert f"interface v{hosts.name}2" in said(logs)[1]
    assert json.loads((run / "run.json").read_text())["world_size"] == 2
    assert curve(run) == curve(undisturbed[strategy])
    assert weights(run) == weights(undisturbed[strategy])


@pytest.mark.parametrize("strategy", CONFIGS)
def test_a_cut_link_ends_both_sides_and_the_run_goes_on_exactly(
    hosts: Hosts, corpus: Path, undisturbed: dict[str, Path], tmp_path: Path, strategy: str
) -> None:
    run, logs = tmp_path / "run", tmp_path / "log"
    children = hosts.multinode(CONFIGS[strategy], training(corpus, run), logs=logs)
    wait_until(lambda: len(checkpoints(run)) > 1, timeout_s=120, what="two checkpoints")
    hosts.cut()
    begin = time.monotonic()
    try:
        codes = exit_codes(children, timeout_s=TIMEOUT_S + 60)
    finally:
        hosts.mend()
    assert 0 not in codes
    assert time.monotonic() - begin > TIMEOUT_S / 2  # they did wait for one another
    for rank, text in enumerate(said(logs)):
        assert f"rank {rank} on {hosts.name}{rank + 1} lost the other processes" in text
        assert f"silent for {TIMEOUT_S} s" in text
    assert checkpoints(run)[-1].name < checkpoints(undisturbed[strategy])[-1].name

    again = tmp_path / "again"
    options = [*training(corpus, run), "--resume"]
    children = hosts.multinode(CONFIGS[strategy], options, logs=again)
    assert exit_codes(children, timeout_s=200) == [0, 0], said(again)
    assert weights(run) == weights(undisturbed[strategy])
    assert curve(run) == curve(undisturbed[strategy])


def test_the_doctor_compares_hosts(hosts: Hosts, corpus: Path, tmp_path: Path) -> None:
    shared, logs = tmp_path / "shared", tmp_path / "log"
    shared.mkdir()
    options = ["--config", TINY, "--data", corpus / "data", "--shared", shared, "--json"]
    children = hosts.multinode(["--module", "lnln_dist.doctor"], options, logs=logs)
    assert exit_codes(children, timeout_s=120) == [0, 0], said(logs)
    text = said(logs)[0]
    report = json.loads(text[text.index("{\n") : text.rindex("}") + 1])
    found = {f["check"]: f for f in report["findings"]}
    assert found["ranks"]["found"] == "2 on 2 host(s) reach one another"
    assert found["shared folder"]["level"] == found["agreement"]["level"] == "ok"


def test_hosts_started_with_other_settings_stop_at_once(
    hosts: Hosts, corpus: Path, tmp_path: Path
) -> None:
    logs = tmp_path / "log"
    line = ["bash", "launch/multinode.sh", "--hosts", "2", "--main", hosts.main, "--cpu", "1"]
    children = [
        hosts.start(
            rank + 1,
            [*line, "--rank", str(rank), "--", *training(corpus, tmp_path / "run"), *extra],
            log=logs.with_suffix(f".host{rank}"),
        )
        for rank, extra in enumerate(([], ["--optim.lr", "1e-5"]))
    ]
    assert exit_codes(children, timeout_s=120) == [1, 1]
    for text in said(logs):
        assert f"optim.lr: 1e-05 on rank 1 ({hosts.name}2)" in text
    assert not (tmp_path / "run").exists()


def test_an_elastic_run_starts_again_when_a_worker_dies(
    hosts: Hosts, corpus: Path, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    run, logs = tmp_path / "run", tmp_path / "log"
    line = ["bash", "launch/elastic.sh", "--hosts", "2", "--main", hosts.main, "--cpu", "1", "--"]
    children = [
        hosts.start(
            host,
            [*line, *training(corpus, run), "--resume"],
            log=logs.with_suffix(f".host{host - 1}"),
        )
        for host in (1, 2)
    ]
    wait_until(lambda: len(checkpoints(run)) > 1, timeout_s=120, what="two checkpoints")
    (victim,) = workers(children[1])
    victim.kill()
    assert exit_codes(children, timeout_s=200) == [0, 0], said(logs)
    assert weights(run) == weights(undisturbed["ddp"])
    assert curve(run) == curve(undisturbed["ddp"])
