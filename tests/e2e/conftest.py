"""The real command line, in a process of its own or in this one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, TINY, Command

from lnln_dist import cli, console


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


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a verb in this process and returns its error, which has to be a single line."""

    def call(*arguments: str | Path) -> str:
        capsys.readouterr()
        code = console.finish(cli.dispatch, list(map(str, arguments)))
        error = capsys.readouterr().err
        assert code == console.EXIT_USER, f"{arguments}: exit code {code}\n{error}"
        assert error.startswith("lnln-dist: error: ")
        assert error.count("\n") == 1, error
        return error

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
