"""Under ZeRO 3 and FSDP2 no rank but the first ever holds the whole model, and no device does.

Bytes are counted by the allocator, in layers of a stack of ``LAYERS``. What a rank keeps is not
judged here (parts of weights, gradients, moments, buffers), only what it holds beside that for a
while: before, the whole model at the start and again at every validation.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import HAVE_DEEPSPEED
from holding import LAYERS
from launcher import start_ranks, wait_for

pytestmark = [pytest.mark.dist, pytest.mark.timeout(300)]
FEW = 5 * LAYERS // 8  # found: at most 5, and 8 once, beside much other work


@pytest.fixture(scope="module", params=["zero3", "fsdp2"])
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Counts of both ranks."""
    if request.param == "zero3" and not HAVE_DEEPSPEED:
        pytest.skip("deepspeed is not installed: pip install -e '.[deepspeed]'")
    folder = tmp_path_factory.mktemp(request.param)
    script = str(Path(__file__).with_name("holding.py"))
    ranks = start_ranks(2, [script, request.param, str(folder)], folder=folder)
    codes = wait_for(ranks, timeout_s=120)
    assert codes == [0, 0], (folder / "rank-0.txt").read_text()[-3000:]
    return [json.loads((folder / f"held-{rank}.json").read_text()) for rank in range(2)]


def test_only_rank_0_has_the_whole_model_at_the_start(held: Any) -> None:
    main, other = (counts["start"]["most"] - counts["start"]["left"] for counts in held)
    assert other < FEW
    assert LAYERS <= main < LAYERS + FEW


def test_no_rank_puts_the_model_together_to_evaluate(held: Any) -> None:
    for counts in held:
        for name in ("evaluation", "evaluation after a step"):
            assert counts[name]["most"] < FEW
            assert counts[f"{name}: sum"] == held[0][f"{name}: sum"] != 0


def test_weights_come_together_on_rank_0_only(held: Any) -> None:
    main, other = (counts["weights"]["most"] for counts in held)
    assert other < FEW
    assert LAYERS <= main < LAYERS + FEW
