"""The masks against the rules of the published loader, written out with NumPy alone."""

import numpy as np
import pytest

from lnln_dist.compat.cider_noise import CiderNoise
from lnln_dist.config import MODALITIES
from lnln_dist.errors import ConfigError, DataError

SIZE = 40
RATES = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
PATTERNS = ("RMFM", "RMFM_same", "TMFM", "STMFM", "RMM")


def corpus(aligned):
    rng = np.random.default_rng(0)
    text = rng.integers(2, 11, SIZE)
    text[:3] = 10, 3, 2
    if aligned:
        return dict.fromkeys(MODALITIES, text), dict.fromkeys(MODALITIES, 10)
    padded = {"text": 10, "audio": 14, "vision": 6}
    lengths = {"text": text, "audio": rng.integers(1, 15, SIZE), "vision": rng.integers(0, 7, SIZE)}
    return lengths, padded


def restated(pattern, rate, lengths, padded, seed=1111):
    """Masks as products of zeros and ones, sample by sample where the rules are."""
    np.random.seed(seed)
    uniform, randint = np.random.uniform, np.random.randint
    ones = {m: (np.arange(padded[m]) < lengths[m][:, None]).astype(int) for m in MODALITIES}
    if pattern == "RMFM":
        joined = np.concatenate([ones[m] for m in MODALITIES], axis=1)
        joined = (uniform(size=joined.shape) > [rate]) * joined
        for i in range(SIZE):
            joined[i, 0] = joined[i, lengths["text"][i] - 1] = 1
        edges = np.cumsum([padded[m] for m in MODALITIES])[:-1]
        return dict(zip(MODALITIES, np.split(joined, edges, axis=1), strict=True))
    if pattern == "RMFM_same":
        found = {m: (uniform(size=ones[m].shape) > rate) * ones[m] for m in MODALITIES}
        for i in range(SIZE):
            found["text"][i, 0] = found["text"][i, lengths["text"][i] - 1] = 1
        return found
    if pattern == "RMM":
        there = uniform(size=(SIZE, 3)) > rate
        found = {m: ones[m] * there[:, [k]] for k, m in enumerate(MODALITIES)}
        for i in range(SIZE):
            found["text"][i, 0] = found["text"][i, lengths["text"][i] - 1] = 1
        return found
    mask = ones["text"].copy()
    if pattern == "TMFM":
        mask = (uniform(size=mask.shape) > rate) * mask
    else:
        sizes = np.around((lengths["text"] - 2) * rate).astype(np.int32)
        for i in range(SIZE):
            start = randint(low=1, high=lengths["text"][i] - sizes[i])
            mask[i, start : start + sizes[i]] = 0
    for i in range(SIZE):
        mask[i, 0] = mask[i, lengths["text"][i] - 1] = 1
    return dict.fromkeys(MODALITIES, mask)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("rate", RATES)
def test_masks_equal_the_rules(pattern, aligned, rate):
    lengths, padded = corpus(aligned)
    choices = {"pattern": pattern, "lengths": lengths, "padded": padded}
    if pattern in ("TMFM", "STMFM") and not aligned:
        with pytest.raises(DataError, match="needs an aligned file"):
            CiderNoise(rates=dict.fromkeys(MODALITIES, rate), **choices)
        return
    noise = CiderNoise(rates=dict.fromkeys(MODALITIES, rate), **choices)
    found = noise.draw(np.arange(SIZE), 0, lengths, padded)
    rows = np.array([7, 0, 39, 3])
    some = {m: lengths[m][rows] for m in MODALITIES}
    width = {m: int(some[m].max()) for m in MODALITIES}
    part = noise.draw(rows, 5, some, width)
    for m, mask in restated(pattern, rate, lengths, padded).items():
        assert np.array_equal(found[m].keep_BT, mask == 1)
        assert np.array_equal(part[m].keep_BT, mask[rows, : width[m]] == 1)
        assert found[m].rate_B.tolist() == [np.float32(rate)] * SIZE


def test_rates_per_modality_and_other_seeds():
    lengths, padded = corpus(False)
    rates = {"text": 0.2, "audio": 1.0, "vision": 0.6}
    choices = {"pattern": "RMFM_same", "lengths": lengths, "padded": padded}
    found = CiderNoise(rates=rates, seed=5, **choices).draw(np.arange(SIZE), 0, lengths, padded)
    for m in MODALITIES:
        expected = restated("RMFM_same", rates[m], lengths, padded, seed=5)[m] == 1
        assert np.array_equal(found[m].keep_BT, expected)
    with pytest.raises(ConfigError, match=r"missing rate 1\.2 of text"):
        CiderNoise(rates=rates | {"text": 1.2}, **choices)


def test_a_block_needs_the_ends_of_a_text():
    lengths, padded = corpus(True)
    lengths["text"][5] = 1
    with pytest.raises(DataError, match="two ends of every text"):
        CiderNoise(
            pattern="STMFM", rates=dict.fromkeys(MODALITIES, 0.5), lengths=lengths, padded=padded
        )
