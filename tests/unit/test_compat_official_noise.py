import numpy as np
import pytest

from lnln_dist.compat.official_noise import OfficialNoise, uniform_field
from lnln_dist.config import MODALITIES
from lnln_dist.errors import ConfigError

SIZE = 9
PADDED = {"text": 10, "audio": 14, "vision": 6}
RATES = [round(0.1 * i, 1) for i in range(10)] + [1.0]


@pytest.fixture
def lengths():
    rng = np.random.default_rng(0)
    found = {m: rng.integers(1, t + 1, SIZE) for m, t in PADDED.items()}
    found["text"][:3] = 1, 2, 3
    found["vision"][:2] = 0, PADDED["vision"]
    return found


def restated(m, rate, lengths):
    """The rules of the released code, one place at a time."""
    u = np.random.RandomState(1111).uniform(size=(SIZE, PADDED[m]))
    keep = np.zeros((SIZE, PADDED[m]), dtype=bool)
    for i in range(SIZE):
        for t in range(lengths[m][i]):
            if m == "text":
                keep[i, t] = not (0 < t < lengths[m][i] - 1 and u[i, t] <= rate)
            else:
                keep[i, t] = u[i, t] > rate
    return keep


@pytest.mark.parametrize("rate", RATES)
def test_masks_equal_the_rules(rate, lengths):
    noise = OfficialNoise(rates=dict.fromkeys(MODALITIES, rate), rows_total=SIZE, padded=PADDED)
    found = noise.draw(np.arange(SIZE), 0, lengths, PADDED)
    rows = np.array([7, 0, 3])
    some = {m: lengths[m][rows] for m in MODALITIES}
    width = {m: int(some[m].max()) for m in MODALITIES}
    part = noise.draw(rows, 5, some, width)
    for m in MODALITIES:
        whole = restated(m, rate, lengths)
        assert np.array_equal(found[m].keep_BT, whole)
        assert np.array_equal(part[m].keep_BT, whole[rows, : width[m]])
        assert found[m].rate_B.dtype == np.float32
        assert found[m].rate_B.tolist() == [np.float32(rate)] * SIZE


def test_modalities_have_their_own_rates_and_the_same_first_numbers(lengths):
    rates = {"text": 0.0, "audio": 1.0, "vision": 0.4}
    noise = OfficialNoise(rates=rates, rows_total=SIZE, padded=PADDED)
    found = noise.draw(np.arange(SIZE), 0, lengths, PADDED)
    for m in MODALITIES:
        assert np.array_equal(found[m].keep_BT, restated(m, rates[m], lengths))
    fields = [uniform_field(1111, SIZE, t).ravel()[:50] for t in PADDED.values()]
    assert np.array_equal(fields[0], fields[1])
    assert np.array_equal(fields[0], fields[2])


def test_other_seeds_and_wrong_rates(lengths):
    rates = dict.fromkeys(MODALITIES, 0.5)
    one, two = (
        OfficialNoise(rates=rates, rows_total=SIZE, padded=PADDED, seed=s).draw(
            np.arange(SIZE), 0, lengths, PADDED
        )
        for s in (1111, 1112)
    )
    assert not np.array_equal(one["audio"].keep_BT, two["audio"].keep_BT)
    with pytest.raises(ConfigError, match=r"missing rate 1\.2 of text"):
        OfficialNoise(rates=rates | {"text": 1.2}, rows_total=SIZE, padded=PADDED)
    noise = OfficialNoise(rates=rates, rows_total=SIZE, padded=PADDED)
    with pytest.raises(ValueError, match="audio: width 15 exceeds the padded 14"):
        noise.draw(np.arange(SIZE), 0, lengths, PADDED | {"audio": 15})


def test_fields_are_shared_and_read_only():
    assert uniform_field(1111, 4, 5) is uniform_field(1111, 4, 5)
    with pytest.raises(ValueError, match="read-only"):
        uniform_field(1111, 4, 5)[0] = 0
