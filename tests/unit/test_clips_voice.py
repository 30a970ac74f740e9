"""Voice activity: which frames are spoken, and what becomes of the others."""

import numpy as np
import pytest
from clip_files import has_espeak, speech, write_clip

from lnln_dist.clips import audio, features, voice
from lnln_dist.clips.choices import Extractor
from lnln_dist.clips.features import Job
from lnln_dist.errors import ConfigError, UserError

for needed in ("av", "librosa"):
    pytest.importorskip(needed)

HEARD = Extractor(audio="loudness", vision="none", voice_only=True)


def test_frames_whose_middle_is_spoken():
    hop_s = audio.HOP / audio.RATE
    spans = [(0.0, hop_s * 1.4), (hop_s * 3.5, hop_s * 5)]
    assert voice.voiced(spans, 7).tolist() == [True, True, False, False, True, True, False]
    assert not voice.voiced([], 3).any()


def test_unspoken_frames_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(voice, "spoken", lambda clip: [(0.0, 0.25)])
    write_clip(tmp_path / "a.wav", sound_S=np.ones(16_000, np.float32))
    job = Job("a", tmp_path / "a.wav", None, tmp_path / "a.safetensors")
    features.extract(job, HEARD)
    lost_T = np.isnan(features.read(job.target).audio_TD).all(axis=1)
    wanted_T = np.arange(len(lost_T)) * audio.HOP / audio.RATE > 0.25
    np.testing.assert_array_equal(lost_T, wanted_T)
    (dense_TD,) = features.dense([features.read(job.target).audio_TD], 1)
    np.testing.assert_array_equal(~np.nan_to_num(dense_TD).any(axis=1), wanted_T)


def test_it_is_a_setting_of_the_run():
    pytest.importorskip("silero_vad", reason="the extra speech is not installed")
    told = features.facts(HEARD)
    assert told["versions"]["silero-vad"]
    assert Extractor.of(told["settings"]) == HEARD
    with pytest.raises(ConfigError, match="--voice-only has no effect with --audio none"):
        Extractor(audio="none", vision="none", voice_only=True)


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(voice, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"silero_vad: pip install .*\[speech\]"):
        features.check(HEARD)


def test_real_speech(tmp_path):
    pytest.importorskip("silero_vad", reason="the extra speech is not installed")
    if not has_espeak():
        pytest.skip("speech is made by espeak-ng: apt-get install espeak-ng")
    said_S, quiet_S = speech("I loved it, it was great fun", tmp_path), np.zeros(22_050, np.float32)
    sound_S = np.concatenate([quiet_S, said_S, quiet_S])
    write_clip(tmp_path / "a.wav", sound_S=sound_S, sound_rate=22_050)
    spans = voice.spoken(tmp_path / "a.wav")
    assert 0.8 < spans[0][0] < 1.2
    end_s = 1 + len(said_S) / 22_050
    assert end_s - 0.5 < spans[-1][1] < end_s + 0.1
    write_clip(tmp_path / "b.wav", sound_S=quiet_S, sound_rate=22_050)
    assert voice.spoken(tmp_path / "b.wav") == []
