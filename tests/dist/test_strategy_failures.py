"""What is not finite, and what does not answer, stops all ranks; DeepSpeed stays out of DDP."""

from pathlib import Path

import pytest
from conftest import HAVE_DEEPSPEED
from launcher import run_scenarios, start_ranks, wait_for

pytestmark = [pytest.mark.dist, pytest.mark.timeout(600)]
TRIED = ("ddp", "zero2", "zero3", "fsdp2") if HAVE_DEEPSPEED else ("ddp", "fsdp2")
SILENT_S = 4


def test_one_ranks_loss_or_gradient_stops_all_before_the_update(tmp_path: Path) -> None:
    wanted = {"before": {"function": "modules"}} | {
        f"{name} {where}": {"function": "spoil", "strategy": name, "where": where}
        for name in TRIED
        for where in ("loss", "gradient")
    }
    wanted = {"ddp": {"function": "train", "strategy": "ddp", "steps": 2}, **wanted}
    found = run_scenarios(2, wanted, folder=tmp_path, timeout_s=240)
    assert found["before"] == [], "a DDP run has imported what it has no use for"
    for name in TRIED:
        for where in ("loss", "gradient"):
            result = found[f"{name} {where}"]
            for said in result["said"]:
                assert f"{where} not finite before the update" in said, (name, where)
            assert result["same"], (name, where)


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "fsdp2"])
def test_a_rank_that_falls_silent_does_not_hold_the_others(tmp_path: Path, strategy: str) -> None:
    if strategy not in TRIED:
        pytest.skip("deepspeed is not installed: pip install -e '.[deepspeed]'")
    script = str(Path(__file__).with_name("silent_rank.py"))
    children = start_ranks(2, [script, strategy, str(SILENT_S)], folder=tmp_path)
    codes = wait_for(children, timeout_s=200)
    said = (tmp_path / "rank-0.txt").read_text()
    assert codes[0] not in (0, -9), said
    [waited] = [float(line.split()[1]) for line in said.splitlines() if line.startswith("waited ")]
    assert SILENT_S - 1 < waited < SILENT_S + 10
    assert codes[1] == -9, "rank 1 was to fall silent"
