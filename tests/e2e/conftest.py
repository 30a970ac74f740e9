"""A verb that has to refuse, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lnln_dist import cli, console


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
