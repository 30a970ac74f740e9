import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from randomness import ALPHA, p_uncorrelated, p_uniform, power_correlation, power_uniform
from scipy import stats

from lnln_dist.data import philox

# Counter, key and answer, published with the authors' Random123 library (philox4x32, 10 rounds).
KNOWN = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def u32(text):
    return np.array([int(word, 16) for word in text.split()], dtype=np.uint32)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    out = philox.philox4x32(u32(counter), u32(key))
    assert out.dtype == np.uint32
    assert out.tolist() == u32(answer).tolist()


def test_vectorised_equals_one_by_one():
    counter = np.random.default_rng(0).integers(0, 2**32, (3, 5, 4), dtype=np.uint32)
    key = u32("deadbeef 01234567")
    many = philox.philox4x32(counter, key)
    for i, j in np.ndindex(3, 5):
        assert many[i, j].tolist() == philox.philox4x32(counter[i, j], key).tolist()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="expected shapes"):
        philox.philox4x32(np.zeros((2, 3), dtype=np.uint32), np.zeros(2, dtype=np.uint32))
    with pytest.raises(ValueError, match="expected shapes"):
        philox.philox4x32(np.zeros((2, 4), dtype=np.uint32), np.zeros(1, dtype=np.uint32))


def test_counter_layout():
    """Block, epoch, sample low, sample high: a change would change every mask ever drawn."""
    sample = 0x0123456789ABCDEF
    out = philox.words(
        key=0x299F31D0A4093822, samples=np.array([sample], dtype=np.uint64), epoch=7, length=6
    )
    key = u32("a4093822 299f31d0")
    blocks = [
        philox.philox4x32(np.array([b, 7, 0x89ABCDEF, 0x01234567], dtype=np.uint32), key)
        for b in range(2)
    ]
    assert out[0].tolist() == np.concatenate(blocks)[:6].tolist()


def test_unit_interval_is_open_and_symmetric():
    ends = philox.to_unit(np.array([0, 2**32 - 1, 2**31], dtype=np.uint32))
    assert ends.dtype == np.float64
    assert 0 < ends[0] < 1e-9
    assert ends[0] == 1 - ends[1]
    assert ends[2] - 0.5 == 2.0**-33


@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_streams_do_not_depend_on_company_or_length(key, samples, epoch, length, more):
    samples = np.array(samples, dtype=np.uint64)
    long = philox.words(key=key, samples=samples, epoch=epoch, length=length + more)
    assert long.shape == (len(samples), length + more)
    for i in range(len(samples)):
        alone = philox.words(key=key, samples=samples[i : i + 1], epoch=epoch, length=length)
        assert np.array_equal(alone[0], long[i, :length])


def test_names_and_ids_give_distinct_keys():
    names = [("a", 1), ("a", "1"), ("a1",), ("a", 1, ""), ("b", 1), (1, "a")]
    keys = {philox.stream_key(*n) for n in names}
    assert len(keys) == len(names)
    assert all(0 <= k < 2**64 for k in keys)
    ids = [f"video{i}$_${j}" for i in range(50) for j in range(50)]
    keys = philox.sample_keys(ids)
    assert keys.dtype == np.uint64
    assert len(set(keys.tolist())) == len(ids)
    assert philox.sample_keys(ids[7:9]).tolist() == keys[7:9].tolist()
    assert philox.sample_keys([]).shape == (0,)


def test_keys_are_stable_across_versions():
    """Recorded once: a change would silently draw other noise for old runs."""
    assert philox.stream_key("noise", "training", 1111, "text") == 0xEA6752C5D2EF94BF
    assert philox.sample_keys(["03bSnISJMiM$_$1"]).tolist() == [7029581988106401291]


SAMPLES, LENGTH = 4000, 500
DRAWS = SAMPLES * LENGTH


def field(*, seed=3, epoch=0):
    """Two million uniforms of neighbouring counters."""
    return philox.uniforms(
        key=philox.stream_key("test", seed),
        samples=np.arange(SAMPLES, dtype=np.uint64),
        epoch=epoch,
        length=LENGTH,
    )


def faults(u, *, next_epoch, next_seed):
    """p-value of every test of uniformity and independence."""
    return {
        "chi-square": p_uniform(u),
        "kolmogorov-smirnov": stats.kstest(u[:200].ravel(), "uniform").pvalue,
        "low bits": p_uniform(u * 2**20 % 1),
        "samples": p_uncorrelated(u[1:], u[:-1]),
        "epochs": p_uncorrelated(u, next_epoch),
        "seeds": p_uncorrelated(u, next_seed),
        **{f"places {d}": p_uncorrelated(u[:, d:], u[:, :-d]) for d in (1, 2, 3, 4, 8)},
    }


def test_uniform_and_independent():
    """Power > 0.99 for bins off by 1.4 %, and for correlations of 0.006."""
    assert power_uniform(DRAWS, 0.014) > 0.99
    assert power_correlation(SAMPLES * (LENGTH - 8), 0.006) > 0.99
    found = faults(field(), next_epoch=field(epoch=1), next_seed=field(seed=4))
    assert {k: p for k, p in found.items() if p < ALPHA} == {}


def test_the_tests_catch_faults():
    """The same tests on generators with one thing wrong, each 1.2 times the stated size."""
    u = field()
    epoch, seed = field(epoch=1), field(seed=4)

    def leak(into, source, share=0.006):
        """Copies a share of the draws: they stay uniform, their correlation is that share."""
        chosen = np.random.default_rng(0).random(into.shape) < 1.2 * share
        return np.where(chosen, source, into)

    def caught(name, u, epoch=epoch, seed=seed):
        assert faults(u, next_epoch=epoch, next_seed=seed)[name] < ALPHA, name

    caught("chi-square", np.where(u < 0.5, u, leak(u, u - 0.5, 0.014)))
    caught("kolmogorov-smirnov", u**1.03)
    caught("low bits", np.floor(u * 2**20) / 2**20)
    caught("epochs", u, epoch=leak(epoch, u))
    caught("seeds", u, seed=leak(seed, u))
    twins = u.copy()
    twins[1::2] = leak(u[1::2], u[::2], 0.012)  # half of the neighbours
    caught("samples", twins)
    for d in (1, 2, 3, 4, 8):
        echo = u.copy()
        echo[:, d:] = leak(u[:, d:], u[:, :-d])
        caught(f"places {d}", echo)
