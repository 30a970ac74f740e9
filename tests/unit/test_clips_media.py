"""Decoding: what was written comes back, damage is one line."""

import numpy as np
import pytest
from clip_files import RATE, scene, tone, write_clip

from lnln_dist.clips.media import read_audio, read_pictures
from lnln_dist.errors import DataError

pytest.importorskip("av")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    write_clip(path, sound_S=tone(2.0), pictures=scene(2.0))
    return path


def test_sound_without_loss_comes_back(tmp_path):
    path, sound_S = tmp_path / "a.wav", tone(1.3)
    write_clip(path, sound_S=sound_S)
    read_S = read_audio(path, RATE)
    assert read_S.dtype == np.float32
    np.testing.assert_allclose(read_S, sound_S, atol=1e-4)


def test_sound_is_resampled(clip):
    assert abs(len(read_audio(clip, 8000)) - 16_000) < 1100  # AAC adds up to a frame at each end


def test_pictures_are_those_shown_at_their_times(clip):
    shown = scene(2.0)
    pictures = list(read_pictures(clip, 10.0))
    np.testing.assert_allclose([p.time_s for p in pictures], np.arange(len(pictures)) / 10)
    assert len(pictures) == 20
    for k in (0, 7, 15):
        # A lossy codec: near to the right picture, further from the next.
        right = np.abs(pictures[k].rgb_HWC.astype(int) - shown[2 * k]).mean()
        wrong = np.abs(pictures[k].rgb_HWC.astype(int) - shown[2 * k + 2]).mean()
        assert right < 6
        assert right < wrong


def test_a_missing_track_is_nothing_rather_than_an_error(tmp_path):
    write_clip(tmp_path / "seen.mp4", pictures=scene(0.3))
    write_clip(tmp_path / "heard.wav", sound_S=tone(0.3))
    assert read_audio(tmp_path / "seen.mp4", RATE) is None
    assert list(read_pictures(tmp_path / "heard.wav", 10.0)) == []


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"version https://git-lfs"])
def test_what_is_no_media_file(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a media file"):
        read_audio(path, RATE)
    with pytest.raises(DataError, match="not a media file"):
        list(read_pictures(path, 10.0))
