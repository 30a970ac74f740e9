"""Every output, loss and gradient of the released code's fixtures is met."""

from pathlib import Path

import parity_check
import pytest


@pytest.mark.parametrize("name", ["mosi", "sims"])
def test_the_filled_networks_agree(name: str) -> None:
    case = parity_check.fill_case(name)
    assert parity_check.parity_failures(case, case.make(case.config)) == []
    assert len(case.norms) > 400 and len(case.losses) == 5 and len(case.outputs) == 6


def test_the_released_checkpoint_agrees(shared: Path) -> None:
    case = parity_check.checkpoint_case(shared)
    assert parity_check.parity_failures(case, case.make(case.config)) == []
    assert len(case.sums) == len(case.norms) == 457
    # Not all sums cancel: most of them really fix a sign.
    assert sum(abs(case.sums[n]) > 1e-3 * case.norms[n] for n in case.sums) > 250
