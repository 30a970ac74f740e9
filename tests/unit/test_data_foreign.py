"""Files of MulT, MultiBench, MAG, MISA and MMSA-FET, brought into MMSA's names."""

import feature_files
import numpy as np
import pytest

from lnln_dist.data.convert import prepare
from lnln_dist.data.mmsa import read_features, read_pickle
from lnln_dist.errors import DataError

WORDS = ["it", "was", "a", "good", "film", "indeed"]
SIZES = {"train": 6, "dev": 3, "test": 4}


def mult_split(n, *, seed=0):
    """As in MulT's ``mosei_senti_data.pkl``: no sentences, word vectors, ids of three parts."""
    rng = np.random.default_rng([seed, n])
    return {
        "text": rng.normal(size=(n, 5, 300)).astype(np.float32),
        "audio": rng.normal(size=(n, 5, 3)),
        "vision": rng.normal(size=(n, 5, 4)),
        "labels": rng.uniform(-3, 3, (n, 1, 1)),
        "id": np.array([[f"v{n}-{i}", f"{i}.25", f"{i + 1}"] for i in range(n)]),
    }


def mag_split(n, *, words=WORDS, labels=1, more=(), seed=0):
    """As in MAG's ``mosi.pkl``: a list of ((words, visual, acoustic), label, segment)."""
    rng = np.random.default_rng([seed, n])
    samples = []
    for i in range(n):
        length = int(rng.integers(1, len(words) + 1))
        frames = [rng.normal(size=(length, width)) for width in (4, 3)]
        inputs = (np.array(words[:length]), *frames, *([list(m[:length]) for m in more]))
        samples.append((inputs, rng.uniform(-3, 3, (1, labels)), f"v{n}[{i}]"))
    return samples


def read(tmp_path, content, **choices):
    return read_pickle(feature_files.write(tmp_path / "f.pkl", content), **choices)


@pytest.mark.parametrize("field", ["raw_text", "words"])
def test_the_dict_of_mult_with_sentences(tmp_path, field):
    content = {split: mult_split(n) for split, n in SIZES.items()}
    for split in content.values():
        n = len(split["id"])
        split[field] = [WORDS[:3]] * n if field == "words" else ["it was a"] * n
    raw = read(tmp_path, content)
    valid, given = raw.splits["valid"], content["dev"]
    assert valid.ids == ["v3-0$_$0.25$_$1", "v3-1$_$1.25$_$2", "v3-2$_$2.25$_$3"]
    assert np.array_equal(valid.labels["label"], given["labels"].ravel())
    assert valid.raw_text == ["it was a"] * 3
    assert np.array_equal(valid.frames["audio"], given["audio"])
    assert (valid.text_bert, valid.lengths["audio"]) == (None, None)


def test_the_dict_of_mult_lacks_words(tmp_path):
    content = {split: mult_split(n) for split, n in SIZES.items()}
    with pytest.raises(DataError, match=r"no field raw_text .*its text holds vectors.*raw_text"):
        read(tmp_path, content)


def test_a_field_of_mmsas_name_goes_first(tmp_path):
    content = {split: mult_split(n) for split, n in SIZES.items()}
    for split in content.values():
        split["raw_text"] = ["good"] * len(split["id"])
        split["regression_labels"] = np.ones(len(split["id"]))
    raw = read(tmp_path, content)
    assert raw.splits["test"].labels["label"].tolist() == [1] * 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("valid", "dev"), "valid and dev both mean valid"),
        (("dev", "val"), "dev and val both mean valid"),
        ((b"dev", "validation"), "dev and validation both mean valid"),
        (("dev", b"dev"), "two entries are named dev"),
    ],
)
def test_two_names_for_one_split_are_refused(tmp_path, names, message):
    split = feature_files.feature_split("t", 4)
    content = dict.fromkeys(("train", "test", *names), split)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_keys_that_are_no_names_harm_nothing(tmp_path):
    content = dict.fromkeys(("train", "valid", "test"), feature_files.feature_split("t", 4))
    content |= {(*range(9), i): i for i in range(3)}
    assert len(read(tmp_path, content).splits["train"].ids) == 4


def test_two_foreign_names_for_one_field_are_refused(tmp_path):
    split = feature_files.feature_split("t", 4)
    split["video"] = split["visual"] = split.pop("vision")
    with pytest.raises(DataError, match="train: video and visual both mean vision"):
        read(tmp_path, dict.fromkeys(("train", "valid", "test"), split))


def pooled(n, **more):
    """One vector a sample, where frames should be."""
    return {"audio": np.ones((n, 3)), "vision": np.ones((n, 4)), "raw_text": ["good"] * n, **more}


def test_pooled_features_are_samples_not_the_frames_of_a_clip(tmp_path):
    content = {split: {**pooled(n), "labels": [0.5] * n} for split, n in SIZES.items()}
    source = feature_files.write(tmp_path / "f.pkl", content)
    with pytest.raises(DataError, match=r"train: audio .*shape \(3,\).*\[n, 1, D\]"):
        prepare(source, tmp_path / "out", dataset="mosi", tokenizer="corpus")
    assert len(read(tmp_path, content).splits["train"].ids) == 6


@pytest.mark.parametrize("field", ["id", "labels", "audio_lengths"])
def test_any_field_with_a_row_per_sample_tells_samples_from_a_clip(tmp_path, field):
    split = {**pooled(5), field: [1, 2, 3, 4, 5], "raw_text": "a clip has one"}
    file = read_features(feature_files.write(tmp_path / "f.pkl", split))
    with pytest.raises(DataError, match="raw_text is a str, not an array or list of samples"):
        file.take("all")


def test_the_list_of_mag(tmp_path):
    content = {split: mag_split(n) for split, n in SIZES.items()}
    raw = read(tmp_path, content)
    for name, split in zip(content, ("train", "valid", "test"), strict=True):
        found = raw.splits[split]
        for row, ((words, visual, acoustic), label, segment) in enumerate(content[name]):
            assert found.ids[row] == segment
            assert found.raw_text[row] == " ".join(words)
            assert found.labels["label"][row] == label[0, 0]
            for m, frames in (("audio", acoustic), ("vision", visual)):
                assert found.lengths[m][row] == len(frames)
                assert np.array_equal(found.frames[m][row][: len(frames)], frames)


def test_the_list_of_misa(tmp_path):
    """Word numbers, and the words themselves as a fourth input; no segments; seven labels."""
    content = {}
    for split, n in SIZES.items():
        made = mag_split(n, words=range(6), labels=7, more=[WORDS])
        content[split] = [sample[:2] for sample in made]
    raw = read(tmp_path, content, label_column=2)
    test = raw.splits["test"]
    assert test.ids == [f"test-{row}" for row in range(4)]
    assert test.labels["label"].tolist() == [label[0, 2] for _, label in content["test"]]
    length = len(content["test"][0][0][1])
    assert test.raw_text[0] == " ".join(WORDS[:length])


def test_word_numbers_alone(tmp_path):
    content = {split: mag_split(n, words=range(6)) for split, n in SIZES.items()}
    with pytest.raises(DataError, match=r"words: sample 'v6\[0\]': no strings.*word2id"):
        read(tmp_path, content)


def test_a_list_whose_samples_differ(tmp_path):
    content = {split: mag_split(n) for split, n in SIZES.items()}
    content["test"][2] = content["test"][2][:2]
    with pytest.raises(DataError, match=r"test: sample 2 is not \(\(words, visual, acoustic\)"):
        read(tmp_path, content)


def test_one_clip_without_an_axis_of_samples(tmp_path):
    split = feature_files.feature_split("t", 1)
    clip = {
        "audio": split["audio"][0],
        "video": split["vision"][0],
        "text_bert": split["text_bert"][0],
        "raw_text": split["raw_text"][0],
        "id": "clip 7",
        "audio_lengths": split["audio_lengths"][0],
    }
    file = read_features(feature_files.write(tmp_path / "f.pkl", clip))
    (name,) = file.splits
    raw = file.take(name)
    assert (raw.ids, raw.raw_text) == (["clip 7"], [split["raw_text"][0]])
    assert np.array_equal(np.asarray(raw.text_bert), split["text_bert"])
    assert np.array_equal(np.asarray(raw.frames["vision"]), split["vision"])
    assert raw.lengths["audio"] == split["audio_lengths"]


def test_a_clip_may_have_several_labels(tmp_path):
    clip = {
        "audio": np.ones((5, 3)),
        "vision": np.ones((5, 4)),
        "raw_text": "good",
        "labels": [1.0] * 7,
    }
    file = read_features(feature_files.write(tmp_path / "f.pkl", clip))
    assert np.shape(file.take("all").frames["audio"]) == (1, 5, 3)


def test_a_split_on_its_own_and_a_list_on_its_own(tmp_path):
    for content in (feature_files.feature_split("t", 5), mag_split(5)):
        file = read_features(feature_files.write(tmp_path / "f.pkl", content))
        (name,) = file.splits
        assert len(file.take(name).ids) == 5
    with pytest.raises(DataError, match="no split train, valid, test"):
        read(tmp_path, feature_files.feature_split("t", 5))


def test_foreign_layouts_reach_the_shards(tmp_path):
    """Sentences tokenised, labels of one axis, frames without padding: as they were given."""
    mult = {split: mult_split(n) for split, n in SIZES.items()}
    for split in mult.values():
        split["words"] = [WORDS[:3]] * len(split["id"])
    mag = {split: mag_split(n) for split, n in SIZES.items()}
    for name, content in (("mult", mult), ("mag", mag)):
        (tmp_path / name).mkdir()
        index, dataset = feature_files.converted(
            tmp_path / name, content, dataset="mosi", tokenizer="corpus"
        )
        assert index.widths == {"audio": 3, "vision": 4}
        valid = dataset.split("valid")
        assert valid.raw_text(0).startswith("it")
        if name == "mult":
            assert valid.ids[0] == "v3-0$_$0.25$_$1"
            np.testing.assert_allclose(valid.labels, mult["dev"]["labels"].ravel(), rtol=1e-6)
            np.testing.assert_allclose(valid.frames("audio", 1), mult["dev"]["audio"][1], rtol=1e-6)
        else:
            (words, visual, _), label, _ = mag["dev"][1]
            assert valid.labels[1] == pytest.approx(label.item(), rel=1e-6)
            assert valid.raw_text(1) == " ".join(words)
            np.testing.assert_allclose(valid.frames("vision", 1), visual, rtol=1e-6)
