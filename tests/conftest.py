"""Fixtures shared by all tests."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import ENVIRONMENT, TINY, Command
from hypothesis import HealthCheck, settings

# No test depends on how fast the machine is, nor on examples that only one run sees.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

# A run in the background or under nohup ignores these, and so would every program it starts: no
# shell can trap what it was started to ignore.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

SHARED = Path(__file__).resolve().parents[2] / "shared"


# Their ranks keep both cores busy by themselves; the other process tests mostly wait.
BUSY = ("test_parity.py", "test_strategy_failures.py", "test_strategy_resume.py")


def queue_of(test: str) -> str:
    """Tests of one queue run one after the other: two queues of process tests, else the file."""
    path = Path(test.partition("::")[0])
    if path.parent.name != "dist":
        return str(path)
    return "ranks" if path.name in BUSY else "hosts"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Queues instead of single tests for pytest-xdist's workers."""
    from xdist.scheduler import LoadScopeScheduling

    class Queues(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return queue_of(nodeid)

    return Queues(config, log)


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
