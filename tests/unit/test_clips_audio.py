"""Descriptors of sound: those of librosa called directly, finite for silence and short clips."""

import numpy as np
import pytest
from clip_files import tone

from lnln_dist.clips import audio
from lnln_dist.errors import ConfigError

librosa = pytest.importorskip("librosa")


@pytest.fixture(scope="module")
def sound_S():
    return librosa.resample(tone(1.5), orig_sr=16_000, target_sr=audio.RATE)


@pytest.mark.filterwarnings("ignore:n_fft=")
def test_the_columns_of_sims(sound_S):
    rows_TD = audio.describe(sound_S, audio.columns("sims"))
    assert rows_TD.shape == (1 + len(sound_S) // 512, 33)
    rate = {"sr": 22_050, "hop_length": 512}
    np.testing.assert_array_equal(
        rows_TD[:, 0], librosa.feature.zero_crossing_rate(sound_S, hop_length=512)[0]
    )
    np.testing.assert_array_equal(
        rows_TD[:, 1:21].T, librosa.feature.mfcc(y=sound_S, n_mfcc=20, htk=True, **rate)
    )
    np.testing.assert_array_equal(rows_TD[:, 21:].T, librosa.feature.chroma_cqt(y=sound_S, **rate))


def test_the_true_pitch_follows_the_sound():
    at = np.arange(audio.RATE) / audio.RATE
    rows_TD = audio.describe(np.sin(2 * np.pi * 200 * at).astype(np.float32), ("f0",))
    assert abs(np.median(rows_TD) - 200) < 2


@pytest.mark.parametrize("samples", [0, 1, 700, 22_050])
def test_silence_is_finite_at_any_length(samples):
    for name, (width, _) in audio.DESCRIPTORS.items():
        rows_TD = audio.describe(np.zeros(samples, np.float32), (name,))
        assert rows_TD.shape == (1 + samples // 512 if samples else 0, width), name
        assert np.isfinite(rows_TD).all(), name


def test_descriptors_by_name():
    assert audio.columns("mfcc, loudness") == ("mfcc", "loudness")
    assert audio.width(("mfcc", "loudness")) == 21
    with pytest.raises(ConfigError, match="--audio mcff: no descriptor 'mcff'"):
        audio.columns("mcff")
    with pytest.raises(ConfigError, match="named twice"):
        audio.columns("f0,f0")
