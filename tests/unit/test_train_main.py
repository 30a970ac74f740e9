"""The training program as a command."""

import os
import signal
from pathlib import Path

import pytest

from lnln_dist.errors import ConfigError, PreemptedError
from lnln_dist.train import program
from lnln_dist.train.__main__ import command
from lnln_dist.train.leaving import SIGNALS, Notice


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_torch_is_imported_reaches_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def run(*_: object, notice: Notice, **__: object) -> None:
        assert not notice.given
        os.kill(os.getpid(), number)
        assert notice.given
        raise PreemptedError("seen")

    monkeypatch.setattr(program, "run", run)
    before = signal.getsignal(number)
    with pytest.raises(PreemptedError, match="seen"):
        command(["--output", str(tmp_path)])
    assert signal.getsignal(number) == before


def test_resume_and_overwrite_exclude_one_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="drop one of them"):
        command(["--output", str(tmp_path), "--resume", "--overwrite"])
