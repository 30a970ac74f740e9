"""Which samples a report shows, and how."""

import numpy as np
import pytest

from lnln_dist.report.conditions import Condition, Outputs
from lnln_dist.report.samples import COLUMNS, Contents, Sample, choose, described, strip

AT = Condition("random", 0.5)


def _outputs(error: np.ndarray) -> Outputs:
    label = np.linspace(-1, 1, len(error))
    first = {AT: label + error}
    ids = [f"v{i}" for i in range(len(error))]
    return Outputs(ids, label, {AT: first[AT][None]}, {}, first)


def test_the_worst_of_every_model_come_first_and_others_beside_them() -> None:
    one, two = np.zeros(100), np.zeros(100)
    one[[7, 8]], two[[50, 51]] = (3.0, 2.0), (-9.0, 1.0)
    chosen = choose([_outputs(one), _outputs(two)], 8)
    assert chosen[:4] == [7, 50, 8, 51]
    assert len(set(chosen)) == len(chosen) == 8
    # What is drawn does not depend on the models.
    others = choose([_outputs(-one[::-1])], 8)
    assert set(chosen[4:]) & set(others)
    assert choose([_outputs(one)], 100) == list(range(100))


@pytest.mark.parametrize("length", [1, 7, 60, 61, 500])
def test_strips_tell_the_erased_share_of_each_stretch(length: int) -> None:
    keep_T = np.ones(length, np.bool_)
    assert set(strip(keep_T)) == {"0"}
    assert set(strip(~keep_T)) == {"9"}
    assert len(strip(keep_T)) == min(length, COLUMNS)
    keep_T[0] = False  # one erased place is seen in any stretch
    assert strip(keep_T)[0] != "0"


def test_a_sample_without_its_data_has_no_text() -> None:
    (entry,) = described([_outputs(np.ones(1))], [AT, Condition("random", 0.9)], None, 5)
    assert entry == {"id": "v0", "label": -1.0, "said": [[0.0, None]]}


def test_a_sample_with_its_data_has_text_and_masks() -> None:
    keep = {"text": np.array([[True, False, True]]), "audio": np.array([[False]])}
    contents = Contents({"v0": 3}, True, lambda _: Sample([("a", 1)], keep))
    (entry,) = described([_outputs(np.ones(1))], [AT], contents, 5)
    assert entry["pieces"] == [("a", 1)]
    assert entry["kept"] == ["101"]
    assert entry["strips"] == {"text": ["090"], "audio": ["9"]}
