"""The doctor on several ranks of this machine."""

import json
from pathlib import Path

import pytest
import tiny_runs
from launcher import start_ranks, wait_for

pytestmark = pytest.mark.dist


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    tiny_runs.write_data(folder / "data")
    tiny_runs.write_data(folder / "other", seed=1)
    (folder / "tiny.yaml").write_text("model: {encoder: {name: tiny}}\n")
    return folder


def examine(places: Path, tmp_path: Path, *options: str) -> tuple[list[int], dict, list[str]]:
    arguments = ["-m", "lnln_dist.doctor", "--config", str(places / "tiny.yaml"), "--json"]
    children = start_ranks(2, [*arguments, *options], folder=tmp_path)
    codes = wait_for(children, timeout_s=120)
    said = [(tmp_path / f"rank-{n}.txt").read_text() for n in range(2)]
    return codes, json.loads(said[0][said[0].index("{") :]), said


def test_ranks_that_fit_together(places: Path, tmp_path: Path) -> None:
    codes, report, said = examine(
        places, tmp_path, "--data", str(places / "data"), "--shared", str(tmp_path)
    )
    assert (codes, report["ok"]) == ([0, 0], True)
    checks = {f["check"]: f for f in report["findings"]}
    assert {"ranks", "agreement", "clocks", "shared folder"} <= checks.keys()
    assert checks["ranks"]["found"].startswith("2 on 1 host")
    assert not any(f["where"] for f in report["findings"])
    assert '"findings"' not in said[1]


def test_a_rank_with_other_data_is_named_and_all_fail(places: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data-of-a-rank"
    folder.mkdir()
    # One path, other content: each rank sees its own data through a link of its own name.
    for rank, name in enumerate(("data", "other")):
        (folder / str(rank)).symlink_to(places / name)
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, sys\n"
        "from lnln_dist.doctor.__main__ import command\n"
        f"data = {str(folder)!r} + '/' + os.environ['RANK']\n"
        "sys.exit(command([*sys.argv[1:], '--data', data]))\n"
    )
    arguments = [str(script), "--config", str(places / "tiny.yaml"), "--json"]
    codes = wait_for(start_ranks(2, arguments, folder=tmp_path), timeout_s=120)
    text = (tmp_path / "rank-0.txt").read_text()
    report = json.loads(text[text.index("{") :])
    failed = [f for f in report["findings"] if f["level"] == "fail"]
    assert codes == [1, 1]
    assert [f["check"] for f in failed] == ["agreement"]
    assert "data hash" in failed[0]["found"]
    assert "on rank 1" in failed[0]["found"]
    data = [f for f in report["findings"] if f["check"] == "data"]
    assert sorted(f["where"].split()[1] for f in data) == ["0", "1"]
