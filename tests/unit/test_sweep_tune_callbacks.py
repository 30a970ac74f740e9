"""Callbacks and loggers by name; those that do not exist are in ``test_sweep_tune_native.py``."""

import pytest
from sweep_standin import SWEEP

from lnln_dist.sweep import study

pytest.importorskip("ray", reason="Ray is an extra")

from lnln_dist.sweep.tune import callbacks


def test_callbacks_and_loggers_are_made() -> None:
    callback = {"ray.tune.logger.TBXLoggerCallback": {}}
    sweep = study.build({**SWEEP, "callbacks": [callback], "loggers": ["csv", "json"]})
    made = callbacks.build(sweep)
    assert [type(one).__name__ for one in made] == [
        "CSVLoggerCallback",
        "JsonLoggerCallback",
        "TBXLoggerCallback",
    ]
