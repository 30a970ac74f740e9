"""The masks against the rules of the published evaluator, written out with NumPy alone."""

import numpy as np
import pytest

from lnln_dist.compat.cms_noise import CmsNoise
from lnln_dist.config import MODALITIES
from lnln_dist.errors import ConfigError

SIZE = 30
PADDED = {"text": 10, "audio": 14, "vision": 7}
RATES = [
    (0.0, 0.0, 0.0),
    (0.5, 0.5, 0.5),
    (0.7, 0.1, 0.1),
    (0.1, 0.7, 0.7),
    (1.0, 0.0, 0.0),
    (1.0, 1.0, 1.0),
]


@pytest.fixture
def lengths():
    rng = np.random.default_rng(0)
    found = {m: rng.integers(1, t + 1, SIZE) for m, t in PADDED.items()}
    found["text"][:3] = 1, 2, 10
    found["vision"][:2] = 0, 7
    return found


def restated(pattern, rates, burst, seed, lengths):
    """True where something is missing, place by place."""
    found = {m: np.zeros((SIZE, PADDED[m]), bool) for m in MODALITIES}
    for i in range(SIZE):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0, i])))
        for m, rate in zip(MODALITIES, rates, strict=True):
            places = list(range(lengths[m][i]))
            if m == "text":
                places = places[1:-1]
            if pattern in ("random", "mixed_burst"):
                u = rng.random((PADDED[m],))
                for t in places:
                    found[m][i, t] |= u[t] < rate
            if pattern in ("block", "mixed_burst"):
                share = rate if pattern == "block" else burst
                size = round(share * len(places))
                if size > 0:
                    start = rng.integers(0, len(places) - size + 1)
                    found[m][i, places[start : start + size]] = True
    return found


@pytest.mark.parametrize("pattern", ["random", "block", "mixed_burst"])
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("seed", [1111, 2222])
def test_masks_equal_the_rules(pattern, rates, seed, lengths):
    own = dict(zip(MODALITIES, rates, strict=True))
    burst = 0.3 if pattern == "mixed_burst" else 0.0
    noise = CmsNoise(pattern=pattern, rates=own, padded=PADDED, seed=seed, burst=burst)
    found = noise.draw(np.arange(SIZE), 0, lengths, PADDED)
    rows = np.array([7, 0, 29, 3])
    some = {m: lengths[m][rows] for m in MODALITIES}
    width = {m: max(1, int(some[m].max())) for m in MODALITIES}
    part = noise.draw(rows, 5, some, width)
    for m, gone in restated(pattern, rates, burst, seed, lengths).items():
        keep = ~gone & (np.arange(PADDED[m]) < lengths[m][:, None])
        assert np.array_equal(found[m].keep_BT, keep)
        assert np.array_equal(part[m].keep_BT, keep[rows, : width[m]])
        assert found[m].rate_B.tolist() == [np.float32(own[m])] * SIZE


def test_wrong_rates_are_refused():
    with pytest.raises(ConfigError, match=r"missing rate 1\.2 of text"):
        CmsNoise(pattern="random", rates=dict.fromkeys(MODALITIES, 1.2), padded=PADDED, seed=1)
