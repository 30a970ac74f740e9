"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference fixtures beside the checkout, or a skip."""
    if not (SHARED / "parity").is_dir():
        pytest.skip("the reference fixtures (../shared) are not beside this checkout")
    return SHARED
