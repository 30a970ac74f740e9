"""From clips to shards: what is kept, what is left out, kills and crashes."""

import csv
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from clip_files import scene, tone, write_clip
from command_line import ENVIRONMENT
from threadpoolctl import threadpool_limits

from lnln_dist.clips import audio, features, media, pool
from lnln_dist.clips.choices import Corpus, Extractor
from lnln_dist.clips.extract import extract_corpus
from lnln_dist.clips.features import Job
from lnln_dist.data.convert import prepare
from lnln_dist.data.presets import find_preset
from lnln_dist.data.schema import read_index
from lnln_dist.data.shards import Split
from lnln_dist.data.summary import describe
from lnln_dist.data.verify import verify
from lnln_dist.errors import DataError, UserError

for needed in ("av", "librosa", "pysubs2"):
    pytest.importorskip(needed)

HEARD = Extractor(audio="mfcc,loudness", vision="none")
SPLITS = {"train": 5, "valid": 2, "test": 2}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A label file and its clips: three splits, two rows that cannot be used."""
    folder = tmp_path_factory.mktemp("raw")
    rows = []
    for split, count in SPLITS.items():
        for k in range(count):
            write_clip(
                folder / "clips" / split / f"{k}.wav", sound_S=tone(0.4 + 0.1 * k, seed=len(rows))
            )
            rows.append([split, k, f"this is number {k}", k - 1, split])
    (folder / "clips" / "train" / "9.wav").write_bytes(b"RIFF damaged")
    rows += [["train", 9, "damaged", 1, "train"], ["train", 8, "", 1, "train"]]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "clip_id", "text", "label", "mode"])
        writer.writerows(rows)
    return folder


def corpus(raw, **changes):
    given = {
        "labels": raw / "labels.csv",
        "clips": raw / "clips",
        "preset": find_preset("own", "mosi", (-3.0, 3.0)),
        "tokenizer": "corpus",
        "most_rejected": 0.5,
    }
    return Corpus(**(given | changes))


@pytest.fixture
def here(monkeypatch):
    """Clips are extracted in this process: forked ones would not be told of what is patched."""
    monkeypatch.setattr(
        pool, "_in_pool", lambda jobs, how, _: ((job, pool._try(job, how)) for job in jobs)
    )


def hashes(index):
    return {split: [shard.sha256 for shard in index.splits[split].shards] for split in SPLITS}


@pytest.fixture(scope="module")
def extracted(raw, tmp_path_factory):
    target = tmp_path_factory.mktemp("out") / "own"
    return target, extract_corpus(corpus(raw), target, HEARD)


def test_the_shards_hold_what_the_clips_hold(raw, extracted):
    target, found = extracted
    index = found.index
    assert {split: index.splits[split].rows for split in SPLITS} == SPLITS
    assert index.widths == {"audio": 21, "vision": 1}
    assert index.extraction["settings"]["audio"] == "mfcc,loudness"
    assert index.extraction["versions"]["librosa"]
    train = Split(target, "train", index)
    assert train.ids[3] == "train$_$3"
    assert train.raw_text(3) == "this is number 3"
    assert train.labels[3] == 2
    sound_S = media.read_audio(raw / "clips" / "train" / "3.wav", audio.RATE)
    with threadpool_limits(1):
        wanted_TD = audio.describe(sound_S, ("mfcc", "loudness"))
    np.testing.assert_array_equal(train.frames("audio", 3), wanted_TD)
    assert not train.frames("vision", 3).any()
    assert train.seen("vision", 3).tolist() == [False]  # was not looked for
    assert train.seen("audio", 3) is train.seen("text", 3) is None


def test_rows_that_cannot_be_used_are_listed(extracted):
    target, found = extracted
    with target.with_name("own.rejected.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(row["line"], row["id"]) for row in listed] == [
        ("11", "train$_$9"),
        ("12", "train$_$8"),
    ]
    assert "not a media file" in listed[0]["reason"]
    assert "no text" in listed[1]["reason"]
    assert (len(found.rejected), found.rows) == (2, 11)
    assert not target.with_name("own.clips").exists()


def test_too_many_of_them_write_nothing(raw, tmp_path):
    with pytest.raises(DataError, match=r"2 of 11 rows cannot be used \(line 11: not a media"):
        extract_corpus(corpus(raw, most_rejected=0.1), tmp_path / "own", HEARD)
    assert not (tmp_path / "own").exists()
    assert (tmp_path / "own.rejected.csv").exists()


def test_what_was_extracted_is_not_extracted_again(raw, extracted, tmp_path, monkeypatch):
    with pytest.raises(DataError):
        extract_corpus(corpus(raw, most_rejected=0.0), tmp_path / "own", HEARD)
    kept = sorted((tmp_path / "own.clips").iterdir())
    assert len(kept) == sum(SPLITS.values())

    opened = []

    def listed(jobs, *_):
        opened.extend(job.id for job in jobs)
        return ((job, "damaged") for job in jobs)

    monkeypatch.setattr(pool, "_in_pool", listed)
    told = []
    again = extract_corpus(corpus(raw), tmp_path / "own", HEARD, tell=told.append)
    assert opened == ["train$_$9"]
    assert told == ["going on: 9 of 10 clips done before"]
    assert hashes(again.index) == hashes(extracted[1].index)


def test_another_number_of_workers_writes_the_same(raw, extracted, tmp_path):
    again = extract_corpus(corpus(raw), tmp_path / "own", HEARD, workers=3)
    assert hashes(again.index) == hashes(extracted[1].index)


def test_killed_and_started_again_it_writes_the_same(raw, extracted, tmp_path):
    options = ["--dataset", "own", "--family", "mosi", "--label-range", "-3", "3"]
    options += ["--tokenizer", "corpus", "--audio", "mfcc,loudness", "--vision", "none"]
    options += ["--most-rejected", "0.5", "--workers", "1"]
    start = [sys.executable, "-m", "lnln_dist", "extract", str(raw / "labels.csv")]
    start += [str(raw / "clips"), str(tmp_path / "own"), *options]
    environment = os.environ | ENVIRONMENT
    killed = subprocess.Popen(start, env=environment, start_new_session=True)
    cache, limit = tmp_path / "own.clips", time.monotonic() + 60
    while not (cache.is_dir() and any(cache.glob("*.safetensors"))):
        assert time.monotonic() < limit
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "own").exists()
    with pytest.raises(ProcessLookupError):  # its workers do not outlive it
        while time.monotonic() < limit:
            os.killpg(killed.pid, 0)
            time.sleep(0.05)
    before = {path.name for path in cache.glob("*.safetensors")}
    subprocess.run(start, env=environment, check=True, capture_output=True, timeout=100)
    assert before
    assert hashes(read_index(tmp_path / "own")) == hashes(extracted[1].index)
    assert not cache.exists()


def test_frames_can_be_cut_where_published_files_cut_them(raw, tmp_path, here):
    found = extract_corpus(corpus(raw, cut_sd=0.0), tmp_path / "own", HEARD)
    lengths = [1 + int((0.4 + 0.1 * k) * audio.RATE) // audio.HOP for k in range(5)]
    assert found.index.padded_lengths["audio"] == np.ceil(np.mean(lengths))


def test_what_clips_lack_was_never_there(tmp_path, monkeypatch, here):
    """Frames without a face, at the beginning of every clip too; muted tracks; and no words."""
    lost = {"train": range(3), "valid": range(3, 6), "test": [0, 9]}

    def pictures(job, extractor):
        found_TD = np.ones((10, extractor.widths["vision"]), np.float32)
        found_TD[lost[job.id.partition("$")[0]]] = np.nan
        return found_TD

    monkeypatch.setattr(features, "_pictures", pictures)
    lines = ["video_id,clip_id,text,label,mode"]
    for split in SPLITS:
        for k in range(4):
            seconds = 0.3 + 0.01 * len(lines)  # the same clip would be extracted once
            sound_S = tone(seconds) if k else np.zeros(int(16_000 * seconds), np.float32)
            write_clip(tmp_path / "clips" / split / f"{k}.wav", sound_S=sound_S)
            lines.append(f"{split},{k},{'good film' if k else ''},1,{split}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    target = tmp_path / "own"
    index = extract_corpus(corpus(tmp_path), target, Extractor(audio="loudness")).index
    assert verify(target) == []
    for name, places in lost.items():
        split = Split(target, name, index)
        for row in range(4):
            assert np.flatnonzero(~split.seen("vision", row)).tolist() == list(places)
        assert split.seen("audio", 0).tolist() == [False]
        assert split.seen("audio", 1).all()
        assert split.seen("text", 0).tolist() == [True, False, True]
        assert split.seen("text", 1).all()
    assert index.repairs["train"]["vision.all_nan"] == 12
    assert index.gaps["audio"]["test"].places == 1
    for m in ("text", "audio"):
        assert f"natural gaps in test: 1 of 4 samples has no {m}" in describe(index).splitlines()
    assert "test: audio: " not in describe(index)  # neither gaps in others nor repairs


def test_sound_and_pictures_of_one_clip(tmp_path, monkeypatch):
    class Finder:
        def find(self, rgb_HWC):
            from lnln_dist.clips.faces import Face

            if not rgb_HWC.any():
                return None
            return Face(np.random.default_rng(0).normal(size=(468, 3)).astype(np.float32), 1.0)

    monkeypatch.setattr(features, "_finder", Finder)
    write_clip(tmp_path / "a.mp4", sound_S=tone(1.0), pictures=scene(1.0, hidden=(0.4, 0.8)))
    job = Job("a", tmp_path / "a.mp4", None, tmp_path / "a.safetensors")
    features.extract(job, Extractor(audio="loudness", vision="geometry"))
    found = features.read(job.target)
    assert found.vision_TD.shape == (10, 19)
    lost_T = np.isnan(found.vision_TD)
    assert lost_T[4:8].all()
    assert not lost_T[[0, 1, 2, 3, 8, 9]].any()
    assert abs(len(found.audio_TD) - (1 + audio.RATE // audio.HOP)) <= 4


def test_clips_that_are_not_there(raw, tmp_path, here):
    out = tmp_path / "own"
    with pytest.raises(DataError, match=r"nowhere: no such folder of clips"):
        extract_corpus(corpus(raw, clips=tmp_path / "nowhere"), out, HEARD)
    with pytest.raises(DataError, match=r"no row's clip is in it .*; first train/0\): give"):
        extract_corpus(corpus(raw, clips=tmp_path), out, HEARD)
    assert list(tmp_path.iterdir()) == []
    for split in SPLITS:  # one clip of each
        shutil.copytree(raw / "clips" / split, tmp_path / "clips" / split)
        (tmp_path / "clips" / split / "1.wav").unlink()
    index = extract_corpus(corpus(raw, clips=tmp_path / "clips"), out, HEARD).index
    assert index.no_clip == ("train$_$1", "valid$_$1", "test$_$1")
    told = "3 of 9 rows have no clip (their text alone is used): 'train$_$1', 'valid$_$1', 'test"
    assert told in describe(read_index(out))
    assert "no clip" not in describe(index.model_copy(update={"no_clip": ()}))


def test_text_alone_opens_no_clip(raw, tmp_path, monkeypatch, here):
    lines = (raw / "labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "train,1b,,1,train"]) + "\n")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1b.wav").write_bytes(b"")  # never looked at
    monkeypatch.setattr(media, "_opened", None)
    told, given = [], {"labels": tmp_path / "labels.csv", "clips": tmp_path}
    found = extract_corpus(
        corpus(raw, **given),
        tmp_path / "own",
        Extractor(audio="none", vision="none"),
        tell=told.append,
    )
    assert told == ["--audio none --vision none: no clip is opened, the data are text alone"]
    assert found.index.splits["train"].rows == 6  # that of the damaged clip, too
    assert found.index.no_clip == ()
    lines = describe(found.index).splitlines()
    assert {"audio: not looked for (--audio none)", "vision: not looked for (--vision none)"} <= {
        *lines
    }
    assert not any("zero throughout" in line or "natural gaps" in line for line in lines)
    assert [row.reason[:27] for row in found.rejected] == [
        "no clip train/8.mp4 (or .wa",
        "no text, and clips are not ",
    ]


def test_the_label_files_encoding_is_an_option(raw, tmp_path, here):
    text = (raw / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text, encoding="utf-16")
    given = {"labels": tmp_path / "labels.csv", "encoding": "utf-16"}
    found = extract_corpus(corpus(raw, **given), tmp_path / "own", HEARD)
    assert found.rows == 11


def test_a_target_that_exists(raw, extracted):
    with pytest.raises(UserError, match="exists: choose another name"):
        extract_corpus(corpus(raw), extracted[0], HEARD)


def test_only_prepared_data_are_replaced(raw, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"other things than prepared data \(thesis\.tex"):
        extract_corpus(corpus(raw), tmp_path, HEARD, overwrite=True)
    with pytest.raises(UserError, match="is a folder: --format mmsa writes a file"):
        extract_corpus(corpus(raw, format="mmsa"), tmp_path, HEARD, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_a_pickle_for_mmsa_holds_the_same(raw, extracted, tmp_path):
    target, found = extracted
    extract_corpus(corpus(raw, format="mmsa"), tmp_path / "own.pkl", HEARD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.pkl", "own.pkl.rejected.csv"]
    again = prepare(
        tmp_path / "own.pkl",
        tmp_path / "again",
        dataset="own",
        family="mosi",
        label_range=(-3.0, 3.0),
        tokenizer=str(target / "tokenizer"),
        text_source="text_bert",
    )
    assert hashes(again) == hashes(found.index)
