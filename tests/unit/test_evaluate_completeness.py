"""What predicted completeness is held against, with and without natural gaps."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from memory_split import MemorySplit

from lnln_dist.data.schema import Gaps
from lnln_dist.evaluate.completeness import calibrated
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.protocol import Cell, grid

RATES, SEEDS = (0.0, 0.5, 0.9), (1, 2)


def index_of(gaps: int) -> Any:
    found = {"text": {"test": Gaps(samples=1, runs=1, places=gaps, absent=0)}}
    info = SimpleNamespace(seen=("text",) if gaps else ("audio",))
    return SimpleNamespace(gaps=found, splits={"test": info})


@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_a_check_that_says_what_is_there_has_the_slope_1(lost: float) -> None:
    split: Any = MemorySplit(size=40)
    split.name = "test"
    length_N = split.lengths["text"]
    cells = grid(RATES, SEEDS)
    gaps_N = np.round(lost * length_N).astype(int)
    found = []
    for cell in cells:
        erased_N = np.round(cell.rates["text"] * (length_N - gaps_N)).astype(int)
        left_N = np.full(40, (length_N - gaps_N - erased_N).sum() / length_N.sum(), np.float32)
        found.append(Predictions(left_N, {"completeness": left_N}, {"text": erased_N}))
    told = calibrated(cells, found, split, index_of(int(gaps_N.sum())))
    assert told is not None
    assert told.slope == pytest.approx(1, abs=1e-6 if lost else 0.02)
    assert list(told.by_rate) == list(RATES)


def test_only_random_places_count_and_a_model_may_say_nothing() -> None:
    split: Any = MemorySplit(size=4)
    split.name = "test"
    one = np.ones(4, np.float32)
    says = Predictions(one, {"completeness": one}, {"text": np.zeros(4, int)})
    cell: Cell = grid((0.5,), (1,))[0]._replace(pattern="block")
    assert calibrated([cell], [says], split, index_of(0)) is None
    assert calibrated(grid((0.5,), (1,)), [says._replace(extras={})], split, index_of(0)) is None
