"""What a message says to do works where its reader stands."""

import configparser
import re
from pathlib import Path

import pytest

from lnln_dist import errors

CHECKOUT = Path(__file__).resolve().parents[2]


def test_an_extra_is_installed_as_the_package_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)
    assert errors.install("ray") == "pip install -e '.[ray]'"
    monkeypatch.chdir(tmp_path)
    assert errors.install("ray") == f"pip install -e '{CHECKOUT}[ray]'"
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages/lnln_dist/errors.py"))
    assert errors.install("ray") == "pip install 'lnln-dist[ray]'"


def test_every_extra_that_is_named_exists() -> None:
    """pip only warns of one that it does not know."""
    known = configparser.ConfigParser()
    known.read(CHECKOUT / "setup.cfg")
    code = "".join(path.read_text() for path in (CHECKOUT / "lnln_dist").rglob("*.py"))
    assert "lnln-dist[" not in code.replace("lnln-dist[{extra}]", "")
    named = set(re.findall(r"install\([\"'](\w+)[\"']\)", code)) | {"clips", "speech"}
    assert len(named) > 4
    assert named <= set(known["options.extras_require"])
