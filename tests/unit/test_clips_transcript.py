"""Subtitles to sentences."""

import pytest

from lnln_dist.clips.transcript import read_subtitles
from lnln_dist.errors import DataError

pytest.importorskip("pysubs2")


def test_srt_and_vtt(tmp_path):
    srt = tmp_path / "a.srt"
    srt.write_text(
        "1\n00:00:00,000 --> 00:00:01,000\n<i>It was</i>\nfine,\n\n"
        "2\n00:00:01,500 --> 00:00:02,000\n{\\an8}really.\n"
    )
    assert read_subtitles(srt) == "It was fine, really."
    vtt = tmp_path / "a.vtt"
    vtt.write_text(
        "WEBVTT\n\n00:00.000 --> 00:01.000\n<v Ann>很好 <00:00:00.500>看\n", encoding="utf-8-sig"
    )
    assert read_subtitles(vtt) == "很好 看"


def test_what_is_no_subtitle_file(tmp_path):
    path = tmp_path / "a.srt"
    path.write_bytes("Café".encode("latin1"))
    with pytest.raises(DataError, match=r"a\.srt: not UTF-8"):
        read_subtitles(path)
    path.write_text("nothing of the kind")
    with pytest.raises(DataError, match=r"a\.srt: no subtitles"):
        read_subtitles(path)
