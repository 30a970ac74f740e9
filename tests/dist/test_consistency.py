"""Two real ranks that were started differently; run as a script, this file is one of them."""

import os
import sys
from pathlib import Path

import pytest
import tiny_runs

from lnln_dist import console, settings
from lnln_dist.runtime import Runtime
from lnln_dist.specs.registry import make_config
from lnln_dist.train.consistency import check_equal_on_ranks
from lnln_dist.train.program import run

pytestmark = pytest.mark.dist


def with_data(argv: list[str]) -> int:
    """Each rank has the data of its argument."""
    facts = {"optim.lr": 1e-4, "data hash": argv[int(os.environ["RANK"])]}
    runtime = Runtime(
        cpu=True, timeout_s=60, agree=lambda peers, _: check_equal_on_ranks(peers, facts)
    )
    runtime.close()
    print("went on")
    return 0


def training(argv: list[str]) -> int:
    """Trains; the last rank alone has the variables that follow data and run folder."""
    data, output, timeout_s, *variables = argv
    if os.environ["RANK"] == "1":
        os.environ.update(dict(pair.split("=", 1) for pair in variables))
    plain = settings.to_dict(make_config(model=tiny_runs.MODEL))
    plain["data"]["path"] = data
    plain["train"] |= {"epochs": 1, "batch_size": 4, "timeout_s": int(timeout_s)}
    plain["select"]["rates"] = [0.5]
    run(settings.build(plain), Path(output), cpu=True)
    print("went on")
    return 0


def start(folder: Path, *arguments: str) -> tuple[list[int], list[str]]:
    from launcher import start_ranks, wait_for

    children = start_ranks(2, [__file__, *arguments], folder=folder)
    codes = wait_for(children, timeout_s=100)
    return codes, [(folder / f"rank-{n}.txt").read_text() for n in range(2)]


def test_ranks_with_other_data_stop_at_start(tmp_path: Path) -> None:
    codes, said = start(tmp_path, "with_data", "aaa", "bbb")
    assert codes == [console.EXIT_USER] * 2
    for text in said:
        assert "error: ranks differ: data hash: 'bbb' on rank 1" in text
        assert "optim.lr" not in text
        assert "Traceback" not in text


def test_equal_ranks_go_on(tmp_path: Path) -> None:
    tiny_runs.write_data(tmp_path / "data")
    places = (str(tmp_path / "data"), str(tmp_path / "run"))
    codes, said = start(tmp_path, "training", *places, "60")
    assert codes == [0, 0], said
    assert all("went on" in text for text in said)


def test_a_rank_that_was_launched_for_another_strategy_is_named(tmp_path: Path) -> None:
    tiny_runs.write_data(tmp_path / "data")
    places = (str(tmp_path / "data"), str(tmp_path / "run"))
    codes, said = start(tmp_path, "training", *places, "60", "ACCELERATE_USE_FSDP=true")
    assert codes == [console.EXIT_USER] * 2, said
    for text in said:
        assert "error: ranks differ: launch.strategy: 'fsdp2' on rank 1" in text
        assert "'ddp' on rank 0" in text
        assert "Traceback" not in text


def test_a_rank_that_does_not_come_is_named(tmp_path: Path) -> None:
    from launcher import free_port, run_command

    tiny_runs.write_data(tmp_path / "data")
    places = (str(tmp_path / "data"), str(tmp_path / "run"))
    port = str(free_port())
    code, said = run_command(
        [sys.executable, __file__, "training", *places, "2"],
        folder=tmp_path,
        timeout_s=100,
        RANK="0",
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
    )
    assert code == console.EXIT_USER, said
    assert f"waited 2 s at 127.0.0.1:{port} for rank 1 of 2: " in said
    assert "Traceback" not in said


if __name__ == "__main__":
    kind = {"with_data": with_data, "training": training}[sys.argv[1]]
    sys.exit(console.finish(kind, sys.argv[2:]))
