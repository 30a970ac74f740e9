"""Clips as a feature file for predict, and the picture of one."""

import matplotlib
import numpy as np
import pytest
from clip_files import scene, tone, write_clip

from lnln_dist.clips.choices import Extractor
from lnln_dist.clips.features import facts
from lnln_dist.clips.single import Spoken, as_feature_file, check_figure, draw, find_clips
from lnln_dist.errors import DataError, UserError

for needed in ("av", "librosa", "pysubs2"):
    pytest.importorskip(needed)

EXTRACTION = facts(Extractor(audio="loudness", vision="none"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a" / "1.wav", sound_S=tone(0.5))
    (folder / "a" / "1.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nfine\n")
    write_clip(folder / "b.mp4", pictures=scene(0.5))
    (folder / "notes.txt").write_text("no clip")
    return folder


def test_a_folder_of_clips(clips):
    found = find_clips(clips)
    assert [path.name for path in found] == ["1.wav", "b.mp4"]
    file, notes = as_feature_file(found, clips, EXTRACTION)
    assert not notes
    raw = file.take("test")
    assert raw.ids == ["a$_$1", f"{clips.name}$_$b"]
    assert raw.raw_text == ["fine", ""]
    assert list(raw.lengths["audio"]) == [22, 1]
    assert np.asarray(raw.frames["audio"][0]).any()
    assert np.isnan(raw.frames["audio"][1][0]).all()  # no sound track


def test_what_is_said_of_one_clip(clips):
    one = [clips / "a" / "1.wav"]
    file, _ = as_feature_file(one, clips / "a", EXTRACTION, spoken=Spoken("bad"))
    raw = file.take("test")
    assert (raw.ids, raw.raw_text) == (["a$_$1"], ["bad"])
    with pytest.raises(UserError, match="--text and --srt are for one clip"):
        as_feature_file(find_clips(clips), clips, EXTRACTION, spoken=Spoken("bad"))


def test_a_damaged_clip_is_left_out_and_told(clips, tmp_path):
    write_clip(tmp_path / "ok.wav", sound_S=tone(0.3))
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    file, notes = as_feature_file(find_clips(tmp_path), tmp_path, EXTRACTION)
    assert file.take("test").ids == [f"{tmp_path.name}$_$ok"]
    assert notes[0].startswith(f"{tmp_path.name}$_$bad: left out: not a media file")
    (tmp_path / "ok.wav").unlink()
    with pytest.raises(DataError, match="bad: left out"):
        as_feature_file(find_clips(tmp_path), tmp_path, EXTRACTION)


def test_of_two_files_of_one_clip_that_of_extract_is_taken(tmp_path):
    write_clip(tmp_path / "v" / "1.wav", sound_S=tone(0.3))
    write_clip(tmp_path / "v" / "1.mp4", sound_S=tone(0.5))
    file, notes = as_feature_file(find_clips(tmp_path), tmp_path, EXTRACTION)
    assert file.take("test").ids == ["v$_$1"]
    (note,) = notes
    assert note.endswith("1.wav: left out: another file of the clip v$_$1 was taken")


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.pgf", "a.png.gz"])
def test_a_picture_of_no_kind_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"choose a suffix of .*\.pdf, .*\.png, .*\.svg"):
        check_figure(tmp_path / name)
    check_figure(tmp_path / "a.PDF")


def test_a_run_whose_features_came_from_elsewhere(clips):
    with pytest.raises(UserError, match="not extracted from clips here"):
        as_feature_file([clips / "b.mp4"], clips, None)


def test_other_versions_of_the_tools_are_told(clips):
    other = EXTRACTION | {"versions": EXTRACTION["versions"] | {"av": "1.0"}}
    _, notes = as_feature_file([clips / "b.mp4"], clips, other)
    assert notes[0].endswith("here, 1.0 when the run's data were extracted")


@pytest.mark.parametrize("text", ["", "word " * 60])
def test_a_picture_of_a_clip(clips, tmp_path, text):
    vision_TD = np.ones((5, 3), np.float32)
    vision_TD[2] = 0
    draw(clips / "b.mp4", vision_TD, "b: 1.0", text, tmp_path / "b.pending")
    assert (tmp_path / "b.pending").read_bytes().startswith(b"\x89PNG")
    silent_TD = np.zeros((1, 1), np.float32)
    draw(clips / "a" / "1.wav", silent_TD, "a", text, tmp_path / "a.pending", kind="svg")
    assert b"<svg" in (tmp_path / "a.pending").read_bytes()
    how = {"kind": "svg", "left_out": ["audio", "vision"]}
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(clips / "a" / "1.wav", silent_TD, "a", text, tmp_path / "a.pending", **how)
    drawn = (tmp_path / "a.pending").read_text()
    assert drawn.count("not looked for") == 2
    assert "no face" not in drawn
