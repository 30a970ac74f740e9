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
        ({"text": "go\0od"}, "text: holds the control character U+0000"),
        ({"text": "a\tb\nc\x1b"}, "text: holds the control character U+001B"),
        ({"text": "100 \x80"}, "text: holds the control character U+0080"),
        ({"clip_id": "1\x072"}, "clip_id: holds a control character"),
        ({"video_id": "v\0"}, "video_id: holds a control character"),
    ],
)
def test_a_bad_row_has_its_line_and_reason(labels, tmp_path, change, reason):
    path = labels(ROW | {"clip_id": "0"}, ROW | change, header=[*ROW, "label_T"])
    accepted, rejected = read(path, tmp_path)
    assert [row.clip.id for row in accepted] == ["v$_$0"]
    assert [row.line for row in rejected] == [3]
    assert reason in rejected[0].reason
    assert "\0" not in rejected[0].id


def written(tmp_path, *lines, encoding="utf-8"):
    path = tmp_path / "labels.csv"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


HEAD = "video_id,clip_id,text,label,mode"
OPEN = "a quote opens in this line and is not closed"


@pytest.mark.parametrize(
    "closing",
    [
        [],  # up to the end of the file
        ['v,4,"fine, is it",1,train'],  # another row's quote closes it
        ['v,4,so",1,train'],  # and is not followed by what proves it
        ['v,4,a "b",1,train'],
    ],
)
def test_a_quote_that_is_not_closed_costs_its_own_line_alone(tmp_path, closing):
    lines = [HEAD, "v,0,a,1,train", 'v,1,"well, yes,1,train', "v,2,b,1,valid", "v,3,c,1,test"]
    accepted, rejected = read(written(tmp_path, *lines, *closing), tmp_path)
    names = ["v$_$0", "v$_$2", "v$_$3", *["v$_$4"] * len(closing)]
    assert [row.clip.id for row in accepted] == names
    assert [(row.line, row.id) for row in rejected] == [(3, "v$_$1")]
    assert rejected[0].reason.startswith(OPEN)


def test_texts_of_several_lines_are_no_open_quotes(tmp_path):
    first = "text,video_id,clip_id,label,mode"
    (row,), rejected = read(written(tmp_path, first, '"a, b\nc, ""d""",v,1,1,train'), tmp_path)
    assert (row.clip.text, row.line, rejected) == ('a, b\nc, "d"', 2, [])
    last = "video_id,clip_id,label,mode,text"
    rows, rejected = read(written(tmp_path, last, 'v,1,1,train,"a\n\nb"', "v,2,1,test,c"), tmp_path)
    assert [(row.clip.text, row.line) for row in rows] == [("a\n\nb", 2), ("c", 5)]
    assert not rejected


def test_quotes_that_are_not_doubled(tmp_path):
    _, rejected = read(written(tmp_path, HEAD, 'v,1,"a "b" c",1,train'), tmp_path)
    assert rejected[0].reason.startswith("not CSV (")
    _, rejected = read(written(tmp_path, HEAD, "v,1,a,1"), tmp_path)
    assert rejected[0].reason == "mode: the row has too few cells"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_found_and_told(tmp_path, separator):
    lines = [line.replace(",", separator) for line in (HEAD, "v,1,a,1,train")]
    path, told = written(tmp_path, *lines), []
    (row,), _ = read_labels(path, tmp_path, label_range=(-3, 3), tell=told.append)
    assert row.clip.text == "a"
    assert told == [f"{path}: columns separated by {separator!r}"]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "cp1252"])
def test_other_encodings_have_to_be_named(tmp_path, encoding):
    text = "café" if encoding == "cp1252" else "很好"
    path = written(tmp_path, HEAD, f"v,1,{text},1,train", encoding=encoding)
    (row,), _ = read_labels(path, tmp_path, label_range=(-3, 3), encoding=encoding)
    assert row.clip.text == text
    with pytest.raises(DataError, match=r"not utf-8 \(.*\): name its encoding with --encoding"):
        read(path, tmp_path)
    with pytest.raises(DataError, match=r"--encoding zip: no encoding of texts"):
        read_labels(path, tmp_path, label_range=(-3, 3), encoding="zip")
    if encoding != "utf-16":
        with pytest.raises(DataError, match=r"not utf-16 .*: name its encoding"):
            read_labels(path, tmp_path, label_range=(-3, 3), encoding="utf-16")


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
        ("video_id,clip_id,label,mode\nvidé,1,1,train\n".encode("latin1"), "not utf-8"),
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
