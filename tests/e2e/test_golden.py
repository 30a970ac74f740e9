"""The loss curve of the tiny run, as recorded; a change of it has to be meant.

Recorded anew with ``LNLN_RECORD=1 python -m pytest tests/e2e/test_golden.py``. The corpus, the
order, the noise and the initial weights are functions of seeds, so the curve is the same on any
machine up to the rounding of its arithmetic.
"""

import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
RECORDED = Path(__file__).resolve().parents[1] / "golden" / "tiny_curve.json"


def test_the_loss_curve_is_the_recorded_one(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    curve = {
        "loss/total": [line["loss/total"] for line in lines if line["kind"] == "train"],
        "valid/mae/mean": [line["valid/mae/mean"] for line in lines if line["kind"] == "score"],
    }
    if os.environ.get("LNLN_RECORD"):
        RECORDED.write_text(json.dumps(curve, indent=1) + "\n")
    recorded = json.loads(RECORDED.read_text())
    assert curve.keys() == recorded.keys()
    for name, values in recorded.items():
        assert curve[name] == pytest.approx(values, rel=1e-4), name
