"""Uniformity and independence of the masks and rates, with the power of every test."""

import numpy as np
import pytest
from randomness import ALPHA, p_rate, p_uncorrelated, p_uniform, power_correlation, power_rate
from scipy import stats

from lnln_dist.config import MODALITIES, NoiseConfig
from lnln_dist.data import philox
from lnln_dist.data.noise import EvaluationNoise, TrainingNoise

SIZE, PLACES, RATE = 4000, 402, 0.3
EVERYTHING = np.arange(SIZE)
IDS = [f"video{i // 7}$_${i}" for i in range(SIZE)]
LENGTHS = {m: np.full(SIZE, PLACES) for m in MODALITIES}
PAIRS = ("text audio", "text vision", "audio vision")


def masks(*, seed=1, epoch=0, rate=RATE, kind="training"):
    """Masks of a whole split, [size, 400] per modality (text without its ends)."""
    if kind == "training":
        config = NoiseConfig(mode="fixed", rate=rate, clean_share=0.0)
        stream = TrainingNoise(config, seed=seed, ids=IDS)
    else:
        stream = EvaluationNoise(rates=dict.fromkeys(MODALITIES, rate), seed=seed, ids=IDS)
    found = stream.draw(EVERYTHING, epoch, LENGTHS, dict.fromkeys(MODALITIES, PLACES))
    return {m: found[m].keep_BT[:, 1:-1] for m in MODALITIES}


def mask_faults():
    """p-values of the erase rate and of all kinds of dependence between masks."""
    one, next_epoch, other_seed = masks(), masks(epoch=1), masks(seed=2)
    evaluation = masks(kind="evaluation")
    found = {}
    for m in MODALITIES:
        keep = one[m]
        found[f"rate {m}"] = p_rate(~keep, RATE)
        found[f"epochs {m}"] = p_uncorrelated(keep, next_epoch[m])
        found[f"seeds {m}"] = p_uncorrelated(keep, other_seed[m])
        found[f"evaluation {m}"] = p_uncorrelated(keep, evaluation[m])
        found[f"samples {m}"] = p_uncorrelated(keep[1:], keep[:-1])
        for d in (1, 2, 4):
            found[f"places {d} {m}"] = p_uncorrelated(keep[:, d:], keep[:, :-d])
        spread = (keep.mean(axis=1) - 1 + RATE) ** 2 * keep.shape[1] / RATE / (1 - RATE)
        tail = stats.chi2.sf(spread.sum(), SIZE)
        found[f"spread {m}"] = 2 * min(tail, 1 - tail)
    for pair in PAIRS:
        a, b = pair.split()
        found[f"modalities {pair}"] = p_uncorrelated(one[a], one[b])
    return found


def test_masks_are_unbiased_and_independent():
    """Power > 0.99 for a rate off by 0.003 and for correlations of 0.006."""
    places = SIZE * (PLACES - 2)
    assert power_rate(places, RATE, 0.003) > 0.99
    assert power_correlation(places * 0.99, 0.006) > 0.99
    assert {k: p for k, p in mask_faults().items() if p < ALPHA} == {}


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_erased_share_equals_the_rate(rate):
    """Power > 0.99 for a rate off by 0.0033, at any rate."""
    assert power_rate(SIZE * (PLACES - 2), rate, 0.0033) > 0.99
    found = masks(rate=rate, kind="evaluation")
    assert all(p_rate(~found[m], rate) > ALPHA for m in MODALITIES)


def _biased(real):
    return lambda **kw: real(**kw) + 0.0036


def _one_epoch(real):
    return lambda **kw: real(**kw | {"epoch": 0})


def _one_key(real):
    return lambda **kw: real(**kw | {"key": 1})


def _sticky(real):
    def uniforms(**kw):
        u = real(**kw)
        leak = np.random.default_rng(0).random(u[:, 1:].shape) < 0.0072
        u[:, 1:] = np.where(leak, u[:, :-1], u[:, 1:])
        return u

    return uniforms


def _twins(real):
    def uniforms(**kw):
        u = real(**kw)
        leak = np.random.default_rng(0).random(u[1::2].shape) < 0.0144
        u[1::2] = np.where(leak, u[::2], u[1::2])
        return u

    return uniforms


def _uneven(real):
    """Every sample has its own bias, none on average."""
    return lambda **kw: real(**kw) + np.resize([-0.01, 0.01], len(kw["samples"]))[:, None]


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (_biased, ["rate"]),
        (_one_epoch, ["epochs"]),
        (_one_key, ["modalities", "seeds", "evaluation"]),
        (_sticky, ["places 1"]),
        (_twins, ["samples"]),
        (_uneven, ["spread"]),
    ],
)
def test_the_tests_catch_faulty_noise(monkeypatch, fault, names):
    monkeypatch.setattr(philox, "uniforms", fault(philox.uniforms))
    caught = {k for k, p in mask_faults().items() if p < ALPHA}
    for name in names:
        assert {f"{name} {x}" for x in (PAIRS if name == "modalities" else MODALITIES)} <= caught


def rate_faults(rates, next_epoch):
    """p-values for the training rates of a large split: half clean, the others U(0, 1)."""
    found = {}
    for m in MODALITIES:
        hurt = rates[m] > 0
        found[f"uniform {m}"] = p_uniform(rates[m][hurt])
        found[f"epochs {m}"] = p_uncorrelated(hurt, next_epoch[m] > 0)
        found[f"samples {m}"] = p_uncorrelated(hurt[1:], hurt[:-1])
        both = hurt & (next_epoch[m] > 0)
        found[f"epochs, rates {m}"] = p_uncorrelated(rates[m][both], next_epoch[m][both])
    for a, b in (pair.split() for pair in PAIRS):
        both = (rates[a] > 0) & (rates[b] > 0)
        found[f"clean {a} {b}"] = p_uncorrelated(rates[a] > 0, rates[b] > 0)
        found[f"rates {a} {b}"] = p_uncorrelated(rates[a][both], rates[b][both])
    return found


def test_training_rates_are_uniform_and_independent():
    """Power > 0.99 for correlations of 0.017 between clean sets, of 0.033 between rates."""
    size = 200_000
    assert power_correlation(size, 0.017) > 0.99
    assert power_correlation(size // 4.1, 0.033) > 0.99
    stream = TrainingNoise(NoiseConfig(), seed=8, ids=[f"video{i}$_$0" for i in range(size)])
    rates, next_epoch = stream.rates(0), stream.rates(1)
    assert {k: p for k, p in rate_faults(rates, next_epoch).items() if p < ALPHA} == {}
    caught = rate_faults(rates | {"audio": rates["text"] ** 1.1}, rates)
    names = ("clean text audio", "rates text audio", "uniform audio", "epochs text")
    assert all(caught[name] < ALPHA for name in names)


def test_rates_and_masks_use_different_draws():
    """The kept share scatters around 1 - rate as it should, whatever the rate."""
    stream = TrainingNoise(NoiseConfig(clean_share=0.0), seed=3, ids=IDS)
    found = stream.draw(EVERYTHING, 0, LENGTHS, dict.fromkeys(MODALITIES, PLACES))
    for m in ("audio", "vision"):
        rate = stream.rates(0)[m]
        excess = (1 - found[m].keep_BT).mean(axis=1) - rate
        score = excess / np.sqrt(rate * (1 - rate) / PLACES)
        assert p_uncorrelated(score, rate) > ALPHA
        assert stats.chi2.sf((score**2).sum(), SIZE) > ALPHA
        assert stats.chi2.cdf((score**2).sum(), SIZE) > ALPHA
