"""Two real ranks that were started differently; run as a script, this file is one of them."""

import sys
from pathlib import Path

import pytest

from lnln_dist import console
from lnln_dist.runtime import Runtime
from lnln_dist.train.consistency import check_equal_on_ranks

pytestmark = pytest.mark.dist


def rank(argv: list[str]) -> int:
    runtime = Runtime(cpu=True, timeout_s=60)
    try:
        check_equal_on_ranks(runtime, {"optim.lr": 1e-4, "data hash": argv[runtime.rank]})
    finally:
        runtime.close()
    print("went on")
    return 0


def start(folder: Path, *hashes: str) -> tuple[list[int], list[str]]:
    from launcher import start_ranks, wait_for

    children = start_ranks(len(hashes), [__file__, *hashes], folder=folder)
    codes = wait_for(children, timeout_s=60)
    return codes, [(folder / f"rank-{n}.txt").read_text() for n in range(len(hashes))]


def test_ranks_with_other_data_stop_at_start(tmp_path: Path) -> None:
    codes, said = start(tmp_path, "aaa", "bbb")
    assert codes == [console.EXIT_USER] * 2
    for text in said:
        assert "error: ranks differ: data hash: 'bbb' on rank 1" in text
        assert "optim.lr" not in text
        assert "Traceback" not in text


def test_equal_ranks_go_on(tmp_path: Path) -> None:
    codes, said = start(tmp_path, "aaa", "aaa")
    assert codes == [0, 0]
    assert all("went on" in text for text in said)


if __name__ == "__main__":
    sys.exit(console.finish(rank, sys.argv[1:]))
