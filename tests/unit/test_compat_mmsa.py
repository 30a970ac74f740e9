"""Pickles for MMSA: its loader's fields, what they hold, and the way back by prepare."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from encoder_files import write_bert
from transformers import BertConfig, BertModel

from lnln_dist.cli import dispatch
from lnln_dist.compat import mmsa
from lnln_dist.compat.mmsa import encoder_for, write_mmsa
from lnln_dist.config import MODALITIES
from lnln_dist.data.convert import prepare
from lnln_dist.data.schema import SPLITS
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.synthetic import synthesize
from lnln_dist.errors import ConfigError, UserError

# All that its loader reads; it calls astype on the first group and indexes the second.
ARRAYS = ("text", "text_bert", "audio", "vision", "regression_labels")
ARRAYS_OF_SIMS = ("regression_labels_T", "regression_labels_A", "regression_labels_V")
ROWS = ("raw_text", "id", "audio_lengths", "vision_lengths", "annotations", "classification_labels")
SIZES_OF_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 60,
}
SIZES = {"dataset": "sims", "samples": (7, 3, 3)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Prepared data, the pickle made of it, and its content."""
    folder = tmp_path_factory.mktemp("mmsa")
    synthesize(folder / "plain.pkl", **SIZES)
    prepare(folder / "plain.pkl", folder / "shards", dataset="sims", tokenizer="corpus")
    write_mmsa(folder / "shards", folder / "mmsa.pkl", encoder="tiny")
    return folder, pickle.loads((folder / "mmsa.pkl").read_bytes())


def test_the_fields_that_the_loader_reads(made):
    _, content = made
    assert set(content) == {*SPLITS, "config"}
    for split, count in zip(SPLITS, SIZES["samples"], strict=True):
        fields = content[split]
        assert set(fields) == {*ARRAYS, *ARRAYS_OF_SIMS, *ROWS}
        assert {len(value) for value in fields.values()} == {count}
        for name in (*ARRAYS, *ARRAYS_OF_SIMS):
            assert np.isfinite(fields[name].astype(np.float32)).all()
        places = fields["text_bert"].shape[2]
        assert fields["text_bert"].shape[1] == 3
        assert fields["text"].shape == (count, places, 64)
        for m in ("audio", "vision"):
            places = fields[m].shape[1]
            assert max(fields[f"{m}_lengths"]) <= places
            for frames_TD, length in zip(fields[m], fields[f"{m}_lengths"], strict=True):
                assert frames_TD[:length].any(axis=1).all()
                assert not frames_TD[length:].any()
        names = ("Negative", "Neutral", "Positive")
        sign = np.sign(fields["regression_labels"]).astype(int) + 1
        np.testing.assert_array_equal(fields["classification_labels"], sign)
        assert fields["annotations"] == [names[s] for s in sign]


def same_data(left, right):
    a, b = open_dataset(left), open_dataset(right)
    assert a.index.data_hash() == b.index.data_hash()
    for split in SPLITS:
        one, other = a.split(split), b.split(split)
        assert one.ids == other.ids
        for name in a.index.labels:
            np.testing.assert_array_equal(one.label(name), other.label(name))
        for row in range(len(one)):
            assert one.raw_text(row) == other.raw_text(row)
            np.testing.assert_array_equal(one.tokens(row), other.tokens(row))
            np.testing.assert_array_equal(one.segments(row), other.segments(row))
            for m in MODALITIES[1:]:
                np.testing.assert_array_equal(one.frames(m, row), other.frames(m, row))


def test_prepare_reads_it_back(made):
    folder, _ = made
    tokenizer = str(folder / "shards" / "tokenizer")
    prepare(
        folder / "mmsa.pkl",
        folder / "again",
        dataset="sims",
        tokenizer=tokenizer,
        text_source="text_bert",
    )
    same_data(folder / "shards", folder / "again")


def test_text_is_what_the_encoder_makes_of_text_bert(made, tmp_path):
    folder, content = made
    size = open_dataset(folder / "shards").index.tokenizer.vocab_size
    torch.manual_seed(1)
    bert = BertModel(BertConfig(**SIZES_OF_BERT, vocab_size=size)).eval()
    bert.save_pretrained(tmp_path / "bert")
    shutil.copytree(folder / "shards" / "tokenizer", tmp_path / "bert", dirs_exist_ok=True)
    write_mmsa(folder / "shards", tmp_path / "a.pkl", encoder=str(tmp_path / "bert"))
    fields = pickle.loads((tmp_path / "a.pkl").read_bytes())["test"]
    np.testing.assert_array_equal(fields["text_bert"], content["test"]["text_bert"])
    for text_3T, states_TD in zip(fields["text_bert"], fields["text"], strict=True):
        length = int(text_3T[1].sum())
        with torch.no_grad():
            wanted_1TD = bert(torch.from_numpy(text_3T[:1, :length])).last_hidden_state
        np.testing.assert_allclose(states_TD[:length], wanted_1TD[0], atol=1e-5)
        assert not states_TD[length:].any()


def test_an_encoder_of_other_words(made, tmp_path):
    with pytest.raises(UserError, match="bert"):
        encoder = write_bert(tmp_path / "bert")
        write_mmsa(made[0] / "shards", tmp_path / "x.pkl", encoder=str(encoder))
    assert not (tmp_path / "x.pkl").exists()


def test_the_same_every_time(made, tmp_path):
    write_mmsa(made[0] / "shards", tmp_path / "again.pkl", encoder="tiny")
    assert (tmp_path / "again.pkl").read_bytes() == (made[0] / "mmsa.pkl").read_bytes()


def test_nothing_is_half_written(made, tmp_path, monkeypatch):
    folder, _ = made
    with pytest.raises(UserError, match="exists"):
        write_mmsa(folder / "shards", folder / "mmsa.pkl", encoder="tiny")

    def cut(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mmsa, "_states", cut)
    with pytest.raises(UserError, match="the disk is full"):
        write_mmsa(folder / "shards", tmp_path / "x.pkl", encoder="tiny")
    assert not list(tmp_path.iterdir())


def test_by_the_command_line(tmp_path, capsys):
    target = tmp_path / "s.pkl"
    assert not dispatch(["synthesize", str(target), "--format", "mmsa", "--samples", "4,2,2"])
    assert "synthetic demo, 4 train" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["s.pkl"]
    assert pickle.loads(target.read_bytes())["valid"]["text_bert"].shape == (2, 3, 50)
    with pytest.raises(ConfigError, match="act with --format mmsa only"):
        dispatch(["synthesize", str(tmp_path / "t.pkl"), "--tokenizer", "corpus"])


def test_the_encoder_that_goes_with_a_tokenizer():
    assert [encoder_for(name) for name in ("corpus", "bert-base-uncased")] == [
        "tiny",
        "bert-base-uncased",
    ]
