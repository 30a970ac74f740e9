"""The label file: every row is taken or has its reason."""

import csv

import pytest

from lnln_dist.clips.labels import read_labels
from lnln_dist.errors import DataError

ROW = {"video_id": "v", "clip_id": "1", "text": "fine", "label": "1.5", "mode": "train"}


@pytest.fixture
def labels(tmp_path):
    def write(*rows, header=None, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, header or list(ROW), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def read(path, tmp_path):
    return read_labels(path, tmp_path / "clips", label_range=(-3, 3))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": "nan"}, "label: "),
        ({"label": "good"}, "label: "),
        ({"label": ""}, "label: "),
        ({"label": "3.1"}, "label 3.1 is outside [-3, 3]"),
        ({"label_T": "-4"}, "label_T -4 is outside"),
        ({"mode": "dev"}, "mode: "),
        ({"video_id": ""}, "video_id: "),
        ({"video_id": ".."}, "video_id: is part of a path"),
        ({"clip_id": "a/b"}, "clip_id: is part of a path"),
        ({"clip_id": "a\\b"}, "clip_id: is part of a path"),
        ({"clip_id": "a$_$b"}, "clip_id: holds $_$"),
        ({"text": " "}, "no clip v/1.mp4 (or .wav, ...) and no text"),
    ],
)
def test_a_bad_row_has_its_line_and_reason(labels, tmp_path, change, reason):
    path = labels(ROW | {"clip_id": "0"}, ROW | change, header=[*ROW, "label_T"])
    accepted, rejected = read(path, tmp_path)
    assert [row.clip.id for row in accepted] == ["v$_$0"]
    assert [row.line for row in rejected] == [3]
    assert reason in rejected[0].reason


def test_the_second_of_two_equal_rows_is_left_out(labels, tmp_path):
    accepted, rejected = read(labels(ROW, ROW | {"text": "again"}), tmp_path)
    assert len(accepted) == 1
    assert rejected[0].reason == "the same video_id and clip_id as line 2"


def test_files_are_found_by_suffix_and_links_stay_inside(labels, tmp_path):
    folder = tmp_path / "clips" / "v"
    folder.mkdir(parents=True)
    for name in ("1.wav", "1.vtt", "2.mp4"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (folder / "3.mp4").symlink_to(tmp_path / "secret.mp4")
    rows = [ROW | {"clip_id": str(k), "text": ""} for k in (1, 2, 3)]
    accepted, rejected = read(labels(*rows), tmp_path)
    assert [(row.media.name, row.subtitles and row.subtitles.name) for row in accepted] == [
        ("1.wav", "1.vtt"),
        ("2.mp4", None),
    ]
    assert "is a link out of the folder" in rejected[0].reason


def test_a_file_with_a_mark_and_unread_columns(labels, tmp_path):
    header = [*ROW, "annotation", "label_A"]
    path = labels(ROW | {"annotation": "?", "label_A": ""}, header=header, encoding="utf-8-sig")
    (row,), rejected = read(path, tmp_path)
    assert not rejected
    assert (row.clip.text, row.clip.label, row.clip.label_A) == ("fine", 1.5, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"video_id,clip_id,text\nv,1,x\n", "no column label, mode"),
        (b"", "no column video_id"),
        ("video_id,clip_id,label,mode\nvidé,1,1,train\n".encode("latin1"), "not UTF-8"),
    ],
)
def test_a_file_that_is_no_label_file(tmp_path, content, words):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read(path, tmp_path)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "none.csv", tmp_path)


def test_texts_with_commas_that_are_not_quoted(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("video_id,clip_id,label,mode,text\nv,1,1,train,well, yes\n")
    _, rejected = read(path, tmp_path)
    assert "quote texts" in rejected[0].reason
