import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from randomness import ALPHA, p_rate
from scipy import stats

from lnln_dist.config import MODALITIES, ModalityNoise, NoiseConfig
from lnln_dist.data import philox
from lnln_dist.data.noise import CleanNoise, EvaluationNoise, TrainingNoise, clean_count
from lnln_dist.errors import ConfigError

KINDS = {
    "random": {},
    "block": {"pattern": "block"},
    "modality": {"pattern": "modality"},
    "spans": {"pattern": "block", "spans": 3},
    "start": {"pattern": "block", "place": "start"},
    "middle": {"pattern": "block", "place": "middle", "spans": 2},
    "end": {"pattern": "block", "place": "end"},
    "shared": {"shared": True},
    "shared spans": {"pattern": "block", "spans": 2, "shared": True},
}


def ids_of(size):
    return [f"video{i // 7}$_${i}" for i in range(size)]


def same(value):
    return dict.fromkeys(MODALITIES, value)


@st.composite
def corpora(draw):
    """Lengths per modality of a small split, and rows of it in any order, with repeats."""
    size = draw(st.integers(1, 12))
    lengths = {
        m: np.array(draw(st.lists(st.integers(m == "text", 30), min_size=size, max_size=size)))
        for m in MODALITIES
    }
    rows = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=2 * size))
    return size, lengths, np.array(rows)


def draw(stream, rows, lengths, *, epoch=0, extra=0):
    of_rows = {m: lengths[m][rows] for m in MODALITIES}
    width = {m: int(of_rows[m].max()) + extra for m in MODALITIES}
    return stream.draw(rows, epoch, of_rows, width)


def streams(kind, size, seed, rate):
    ids = ids_of(size)
    yield TrainingNoise(NoiseConfig(**KINDS[kind]), seed=seed, ids=ids)
    yield EvaluationNoise(rates=same(rate), seed=seed, ids=ids, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@given(corpora(), st.integers(0, 2**40), st.integers(0, 1000), st.floats(0, 1), st.integers(0, 9))
@settings(max_examples=25)
def test_masks_do_not_depend_on_batch_order_or_width(kind, corpus, seed, epoch, rate, extra):
    size, lengths, rows = corpus
    for stream, again in zip(
        streams(kind, size, seed, rate), streams(kind, size, seed, rate), strict=True
    ):
        together = draw(stream, rows, lengths, epoch=epoch, extra=extra)
        for m in MODALITIES:
            keep, rates = together[m]
            assert keep.dtype == np.bool_
            assert rates.dtype == np.float32
            for i, row in enumerate(rows):
                length = lengths[m][row]
                alone = draw(again, np.array([row]), lengths, epoch=epoch)[m]
                assert np.array_equal(keep[i, :length], alone.keep_BT[0])
                assert not keep[i, length:].any()
                assert rates[i] == alone.rate_B[0]


@pytest.mark.parametrize("kind", KINDS)
@given(corpora(), st.integers(0, 2**40), st.lists(st.floats(0, 1), min_size=1, max_size=5))
@settings(max_examples=25)
def test_evaluation_masks_are_nested_between_all_and_nothing(kind, corpus, seed, rates):
    size, lengths, rows = corpus
    ids = ids_of(size)
    below = draw(CleanNoise(), rows, lengths)
    for rate in [0.0, *sorted(rates), 1.0]:
        stream = EvaluationNoise(rates=same(rate), seed=seed, ids=ids, **KINDS[kind])
        found = draw(stream, rows, lengths)
        for m in MODALITIES:
            keep = found[m].keep_BT
            assert not (keep & ~below[m].keep_BT).any()
            if rate == 0:
                assert np.array_equal(keep, below[m].keep_BT)
            if rate == 1 and m != "text":
                assert not keep.any()
            if m == "text":
                place, length = np.arange(keep.shape[1]), lengths[m][rows][:, None]
                ends = ((place == 0) | (place == length - 1)) & (place < length)
                assert keep[ends].all()
                assert rate < 1 or np.array_equal(keep, ends)
        below = found


def test_clean_noise_keeps_what_is_valid():
    lengths = {m: np.array([3, 0, 5]) for m in MODALITIES}
    found = draw(CleanNoise(), np.array([2, 0, 1]), lengths, extra=2)
    for m in MODALITIES:
        assert found[m].keep_BT.sum(axis=1).tolist() == [5, 3, 0]
        assert found[m].keep_BT.shape == (3, 7)
        assert found[m].rate_B.tolist() == [0, 0, 0]


@given(st.integers(1, 40), st.integers(0, 2**40), st.integers(0, 50), st.integers(0, 100))
@settings(max_examples=60)
def test_clean_count_is_exact_in_every_epoch(size, seed, epoch, percent):
    config = NoiseConfig(clean_share=percent / 100)
    rates = TrainingNoise(config, seed=seed, ids=ids_of(size)).rates(epoch)
    for m in MODALITIES:
        assert (rates[m] == 0).sum() == size * percent // 100
        assert (rates[m] < 1).all()


def test_clean_share_is_taken_as_written():
    assert 100 * 0.29 < 29
    assert clean_count(100, 0.29) == 29
    assert [clean_count(5, s) for s in (0, 0.5, 0.99, 1)] == [0, 2, 4, 5]


def test_settings_per_modality():
    config = NoiseConfig(
        maximum=0.4,
        audio=ModalityNoise(clean_share=0.0),
        vision=ModalityNoise(clean_share=0.25, pattern="modality"),
    )
    stream = TrainingNoise(config, seed=5, ids=ids_of(400))
    rates = stream.rates(3)
    assert [(rates[m] == 0).sum() for m in MODALITIES] == [200, 0, 100]
    assert all(0.38 < rates[m].max() <= 0.4 for m in MODALITIES)
    lengths = {m: np.full(400, 20) for m in MODALITIES}
    kept = draw(stream, np.arange(400), lengths, epoch=3)["vision"].keep_BT.sum(axis=1)
    assert set(kept.tolist()) == {0, 20}
    fixed = NoiseConfig(mode="fixed", rate=0.3, clean_share=0.5)
    rates = TrainingNoise(fixed, seed=5, ids=ids_of(9)).rates(0)
    assert all(sorted(rates[m]) == [0] * 4 + [0.3] * 5 for m in MODALITIES)


def test_block_is_one_gap_of_unbiased_size_and_place():
    size, length, rate = 20000, 10, 0.37
    stream = EvaluationNoise(rates=same(rate), seed=2, ids=ids_of(size), pattern="block")
    lengths = {m: np.full(size, length + 2 * (m == "text")) for m in MODALITIES}
    found = draw(stream, np.arange(size), lengths)
    for m in MODALITIES:
        gone = ~found[m].keep_BT[:, 1:-1] if m == "text" else ~found[m].keep_BT
        borders = np.diff(gone.astype(int), axis=1, prepend=0, append=0)
        assert (np.abs(borders).sum(axis=1) == 2).all()
        count = gone.sum(axis=1)
        assert set(count.tolist()) == {3, 4}  # floor(3.7 + u)
        assert p_rate(count == 4, 0.7) > ALPHA
        starts = gone[count == 4].argmax(axis=1)
        assert stats.chisquare(np.bincount(starts, minlength=7)).pvalue > ALPHA


def gaps(gone_T):
    """(start, end) of each run of erased places."""
    borders = np.flatnonzero(np.diff(np.concatenate([[0], gone_T.astype(int), [0]])))
    return borders.reshape(-1, 2).tolist()


@given(corpora(), st.integers(0, 2**40), st.floats(0, 1), st.integers(1, 4))
@settings(max_examples=60)
def test_spans_are_one_gap_in_each_equal_part(corpus, seed, rate, spans):
    size, lengths, _ = corpus
    choices = {"pattern": "block", "spans": spans, "seed": seed, "ids": ids_of(size)}
    found = draw(EvaluationNoise(rates=same(rate), **choices), np.arange(size), lengths)
    for m in MODALITIES:
        for i, length in enumerate(lengths[m]):
            margin = int(m == "text")
            gone = ~found[m].keep_BT[i, margin : max(length - margin, margin)]
            for part in range(spans):
                low, high = len(gone) * part // spans, len(gone) * (part + 1) // spans
                inside = gaps(gone[low:high])
                assert len(inside) <= 1
                assert abs(gone[low:high].sum() - rate * (high - low)) < 1


def test_spans_are_unbiased():
    size, rate = 20000, 0.37
    stream = EvaluationNoise(rates=same(rate), seed=2, ids=ids_of(size), pattern="block", spans=3)
    found = draw(stream, np.arange(size), {m: np.full(size, 11) for m in MODALITIES})
    # Parts of 3, 4 and 4 places: the sizes are rounded up by chance 0.11, 0.48 and 0.48.
    spread = sum(p * (1 - p) for p in (0.11, 0.48, 0.48))
    for m in ("audio", "vision"):
        mean = (~found[m].keep_BT[:, :11]).sum(axis=1).mean()
        assert abs(mean - 11 * rate) < 4.5 * np.sqrt(spread / size)


@given(corpora(), st.integers(0, 2**40), st.floats(0, 1))
@settings(max_examples=60)
def test_a_fixed_place_is_that_place_without_chance(corpus, seed, rate):
    size, lengths, _ = corpus
    for place in ("start", "middle", "end"):
        choices = {"pattern": "block", "place": place, "ids": ids_of(size)}
        one, other = (
            draw(EvaluationNoise(rates=same(rate), seed=s, **choices), np.arange(size), lengths)
            for s in (seed, seed + 1)
        )
        for m in MODALITIES:
            assert np.array_equal(one[m].keep_BT, other[m].keep_BT)
            for i, length in enumerate(lengths[m]):
                margin = int(m == "text")
                count = max(length - 2 * margin, 0)
                width = int(np.floor(rate * count + 0.5))
                start = {"start": 0, "middle": (count - width) // 2, "end": count - width}[place]
                expected = [[margin + start, margin + start + width]] if width else []
                assert gaps(~one[m].keep_BT[i, :length]) == expected


@pytest.mark.parametrize("kind", ["shared", "shared spans"])
@given(corpora(), st.integers(0, 2**40), st.floats(0, 0.99))
@settings(max_examples=40)
def test_shared_noise_is_the_texts_at_the_same_time(kind, corpus, seed, rate):
    size, lengths, _ = corpus
    stream = EvaluationNoise(rates=same(rate), seed=seed, ids=ids_of(size), **KINDS[kind])
    found = draw(stream, np.arange(size), lengths)
    alone = {**KINDS[kind], "shared": False}
    text = EvaluationNoise(rates=same(rate), seed=seed, ids=ids_of(size), **alone)
    text = draw(text, np.arange(size), lengths)["text"].keep_BT
    assert np.array_equal(found["text"].keep_BT, text)
    for m in ("audio", "vision"):
        for i, length in enumerate(lengths[m]):
            middles = (np.arange(length) + 0.5) / length
            # Exact: no middle of a frame is closer to a token's border than 1 / (2 * 30 * 30).
            token = np.floor(middles * lengths["text"][i] + 1e-9).astype(int)
            assert np.array_equal(found[m].keep_BT[i, :length], text[i, token])
    aligned = dict.fromkeys(MODALITIES, lengths["text"])
    found = draw(stream, np.arange(size), aligned)
    for m in MODALITIES:
        assert np.array_equal(found[m].keep_BT, found["text"].keep_BT)


def test_shared_training_noise_has_the_texts_rates():
    ids, lengths = ids_of(300), {m: np.full(300, 40) for m in MODALITIES}
    shared = TrainingNoise(NoiseConfig(shared=True), seed=5, ids=ids)
    alone = draw(TrainingNoise(NoiseConfig(), seed=5, ids=ids), np.arange(300), lengths, epoch=2)
    found = draw(shared, np.arange(300), lengths, epoch=2)
    for m in MODALITIES:
        assert np.array_equal(found[m].rate_B, alone["text"].rate_B)
        assert np.array_equal(found[m].keep_BT, alone["text"].keep_BT)


def test_shared_places_of_unequal_rates_are_nested():
    ids, lengths = ids_of(50), {m: np.full(50, 40) for m in MODALITIES}
    rates = {"text": 0.5, "audio": 0.2, "vision": 1.0}
    stream = EvaluationNoise(rates=rates, seed=5, ids=ids, shared=True)
    found = draw(stream, np.arange(50), lengths)
    assert not found["vision"].keep_BT.any()  # a modality that is absent has no frame left
    assert (found["audio"].keep_BT | ~found["text"].keep_BT).all()
    assert (found["audio"].keep_BT & ~found["text"].keep_BT).any()


@pytest.mark.parametrize("bad", [-0.1, 1.2, float("nan")])
def test_impossible_rates_are_refused(bad):
    with pytest.raises(ConfigError, match=r"missing rate .* of audio: expected a number from 0"):
        EvaluationNoise(rates=same(0.5) | {"audio": bad}, seed=1, ids=["a"])
    with pytest.raises(ConfigError, match="no missing rate for vision"):
        EvaluationNoise(rates={"text": 0.0, "audio": 0.0}, seed=1, ids=["a"])


def test_masks_are_stable_across_versions():
    """Recorded once: a change would silently draw other noise for old runs."""
    stream = TrainingNoise(NoiseConfig(), seed=1111, ids=ids_of(6))
    found = draw(stream, np.arange(6), {m: np.full(6, 16) for m in MODALITIES}, epoch=1)
    packed = {m: np.packbits(found[m].keep_BT).tobytes().hex() for m in MODALITIES}
    assert packed == {
        "text": "ff3bffffeea1ffffd815ffff",
        "audio": "ffdeffff4081ffffed17ffff",
        "vision": "7b34ffffff7f1c01ffffffff",
    }


def test_rates_are_drawn_once_per_epoch(monkeypatch):
    stream = TrainingNoise(NoiseConfig(), seed=3, ids=ids_of(50))
    calls = []
    real = philox.words
    monkeypatch.setattr(philox, "words", lambda **kw: calls.append(1) or real(**kw))
    first = stream.rates(4)
    assert stream.rates(4) is first
    assert len(calls) == 3
    other = stream.rates(5)
    assert any((other[m] != first[m]).any() for m in MODALITIES)
    assert all(np.array_equal(stream.rates(4)[m], first[m]) for m in MODALITIES)
