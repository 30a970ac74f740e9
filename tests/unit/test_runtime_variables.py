"""Variables of a launcher that cannot be right."""

import pytest

from lnln_dist.errors import TrainingError
from lnln_dist.runtime.variables import check_variables

GOOD = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": "abc"}, "RANK=abc is not a whole number"),
        ({"RANK": "-1"}, "RANK=-1 is not a whole number"),
        ({"MASTER_PORT": "abc"}, "MASTER_PORT=abc is not a whole number"),
        ({"RANK": ""}, "RANK= is not a whole number"),
        ({"MASTER_ADDR": ""}, "WORLD_SIZE=2 but MASTER_ADDR not set"),
        ({"RANK": "2"}, "RANK=2 of WORLD_SIZE=2"),
        ({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK=3 of LOCAL_WORLD_SIZE=1"),
    ],
)
def test_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        check_variables(GOOD | changes)


def test_a_rank_without_a_place_is_refused() -> None:
    with pytest.raises(TrainingError, match="RANK, MASTER_ADDR, MASTER_PORT not set"):
        check_variables({"WORLD_SIZE": "2"})


@pytest.mark.parametrize("given", [{}, GOOD, {"WORLD_SIZE": "1"}, {"SLURM_PROCID": "0"}])
def test_taken(given: dict[str, str]) -> None:
    assert check_variables(given) is None  # type: ignore[func-returns-value]
