"""Fixtures shared by all tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, TINY, Command
from hypothesis import HealthCheck, settings

# No test depends on how fast the machine is, nor on examples that only one run sees.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

SHARED = Path(__file__).resolve().parents[2] / "shared"


# Their ranks keep both cores busy by themselves; the other process tests mostly wait.
BUSY = ("test_parity.py", "test_strategy_failures.py", "test_strategy_resume.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Queues for pytest-xdist: two of process tests, else one for each file."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        queue = str(item.path)
        if item.path.parent.name == "dist":
            queue = "ranks" if item.path.name in BUSY else "hosts"
        item.add_marker(pytest.mark.xdist_group(queue))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference fixtures beside the checkout, or a skip."""
    if not (SHARED / "parity").is_dir():
        pytest.skip("the reference fixtures (../shared) are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs ``lnln-dist ARGUMENTS`` as a user would; fails the test unless it ends as expected."""

    def call(
        *arguments: str | Path, code: int = 0, cwd: Path | None = None, timeout: float = 240
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "lnln_dist", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd,
            env=os.environ | ENVIRONMENT,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stderr}"
        return done

    return call


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A small synthetic corpus: ``corpus.pkl`` and its shards in ``data``."""
    folder = tmp_path_factory.mktemp("corpus")
    command("synthesize", folder / "corpus.pkl", "--samples", "72,20,24", "--seed", "3")
    command(
        *("prepare", folder / "corpus.pkl", folder / "data", "--dataset", "demo"),
        *("--tokenizer", "corpus"),
    )
    return folder


@pytest.fixture(scope="session")
def trained(corpus: Path, command: Command) -> Path:
    """A finished tiny run."""
    command("train", "--config", TINY, "--data.path", corpus / "data", "--output", corpus / "run")
    return corpus / "run"
