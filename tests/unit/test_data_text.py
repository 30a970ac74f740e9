"""Where token ids come from, and how ids of another tokenizer are noticed."""

from collections import Counter

import feature_files
import numpy as np
import pytest

from lnln_dist.data.choices import Choices
from lnln_dist.data.mmsa import read_pickle
from lnln_dist.data.presets import find_preset
from lnln_dist.data.text import choose_text
from lnln_dist.data.tokens import corpus_tokenizer
from lnln_dist.errors import DataError

MOSI = find_preset("mosi", None, None)
OWN = find_preset("mine", "mosi", (-1.0, 1.0))


@pytest.fixture
def content():
    return feature_files.feature_file()


def choose(tmp_path, content, preset=MOSI, *, tokenizer=None, choice="auto", limit=None):
    raw = read_pickle(feature_files.write(tmp_path / "f.pkl", content))
    limits = {} if limit is None else {"text": limit}
    choices = Choices(tokenizer=tokenizer, text_source=choice, max_lengths=limits)
    source = choose_text(raw, preset, choices, folder=tmp_path, name="f.pkl")
    return raw, source


def rows(source, split):
    """Its token ids, and what was counted on the way."""
    counts = Counter()
    return source.rows(split, counts=counts, where="split"), +counts


def sentences(encoded):
    stops = encoded.lengths_N.cumsum()
    return [
        encoded.ids_S[b - n : b].tolist() for b, n in zip(stops, encoded.lengths_N, strict=True)
    ]


@pytest.fixture
def bert(tmp_path, content):
    """A tokenizer of 2000 tokens with BERT's special ids, as ``content`` was made with."""
    words = [f"word{i}" for i in range(2000)]
    for token, number in (("[PAD]", 0), ("[UNK]", 100), ("[CLS]", 101), ("[SEP]", 102)):
        words[number] = token
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words) + "\n")
    return str(tmp_path / "bert")


def test_ids_of_the_file(tmp_path, content):
    raw, source = choose(tmp_path, content)
    assert source.info == MOSI.tokenizer
    assert source.padded == 10
    encoded, counts = rows(source, raw.splits["train"])
    given = content["train"]["text_bert"].astype(int)
    for part in (slice(0, 5), slice(5, 12)):
        expected = [list(ids[mask == 1]) for ids, mask, _ in given[part]]
        assert sentences(encoded.piece(part)) == expected
    assert not counts
    assert not (tmp_path / "tokenizer").exists()


def test_a_limit_keeps_the_last_token(tmp_path, content):
    raw, source = choose(tmp_path, content, limit=4)
    encoded, counts = rows(source, raw.splits["train"])
    found = sentences(encoded)
    given = content["train"]["text_bert"].astype(int)
    for ids, (tokens, mask, _) in zip(found, given, strict=True):
        whole = list(tokens[mask == 1])
        assert ids == (whole if len(whole) <= 4 else [*whole[:3], whole[-1]])
    assert counts["text.cut"] == (given[:, 1].sum(axis=1) > 4).sum() > 0
    assert source.padded == 4
    assert choose(tmp_path, content, limit=40)[1].padded == 10


def test_segments_follow_the_tokens(tmp_path, content):
    content["train"]["text_bert"][0, 2, 3:] = 1
    raw, source = choose(tmp_path, content)
    encoded = rows(source, raw.splits["train"])[0].piece(slice(0, 1))
    assert encoded.segments_S.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_a_new_vocabulary_of_the_training_sentences(tmp_path, content):
    content["test"]["raw_text"][0] = "zebra"
    raw, source = choose(tmp_path, content, tokenizer="corpus")
    made = corpus_tokenizer(content["train"]["raw_text"].tolist())
    assert source.info.vocab_sha256 == made.info.vocab_sha256
    assert source.info.folder == "tokenizer"
    assert (tmp_path / "tokenizer" / "tokenizer.json").is_file()
    assert source.padded == 10
    texts = raw.splits["valid"].raw_text
    encoded, _ = rows(source, raw.splits["valid"])
    assert sentences(encoded.piece(slice(1, 3))) == sentences(made.encode(texts[1:3], limit=10))


def test_new_tokens_without_text_bert_take_fifty_places(tmp_path, content):
    for split in feature_files.SIZES:
        del content[split]["text_bert"]
    content["train"]["raw_text"] = [" "] * 2 + ["good " * 100] * 3 + ["good"] * 7
    raw, source = choose(tmp_path, content, tokenizer="corpus")
    assert source.padded == 50
    encoded, counts = rows(source, raw.splits["train"])
    assert encoded.lengths_N.tolist() == [3, 3, 50, 50, 50] + [3] * 7
    assert counts == {"text.no_words": 2, "text.cut": 3}


def test_a_limit_for_new_tokens(tmp_path, content):
    assert choose(tmp_path, content, tokenizer="corpus", limit=80)[1].padded == 80


def test_declaring_the_tokenizer_of_the_file(tmp_path, content, bert):
    raw, source = choose(tmp_path, content, OWN, tokenizer=bert, choice="text_bert")
    assert source.info.vocab_size == 2000
    given = content["test"]["text_bert"].astype(int)
    found = sentences(rows(source, raw.splits["test"])[0])
    assert found == [list(ids[mask == 1]) for ids, mask, _ in given]


def change(content, row, place, value):
    content["test"]["text_bert"][row, 0, place] = value


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("value", "place", "message"),
    [(40_000, 1, "a token id of"), (7, 0, r"the first token is not \[CLS\] \(101\)")],
)
def test_ids_of_another_tokenizer(tmp_path, content, bert, declared, value, place, message):
    change(content, 4, place, value)
    choices = {"tokenizer": bert, "choice": "text_bert"} if declared else {}
    raw, source = choose(tmp_path, content, **choices)
    with pytest.raises(DataError, match=f"sample 'test1.*4': {message}.*--tokenizer"):
        rows(source, raw.splits["test"])


def test_a_missing_sep_is_an_error_only_where_the_tokenizer_was_named(tmp_path, content, bert):
    change(content, 0, 9, 1500)
    raw, source = choose(tmp_path, content)
    assert rows(source, raw.splits["test"])[1] == {"text.last_not_sep": 1}
    raw, source = choose(tmp_path, content, tokenizer=bert, choice="text_bert")
    with pytest.raises(DataError, match=r"the last token is not \[SEP\] \(102\)"):
        rows(source, raw.splits["test"])


def test_no_sep_anywhere_is_another_tokenizer(tmp_path, content):
    ids = content["test"]["text_bert"][:, 0]
    ids[ids == 102] = 1500
    raw, source = choose(tmp_path, content)
    with pytest.raises(DataError, match=r"the last token is not \[SEP\]"):
        rows(source, raw.splits["test"])


def without(split):
    return lambda content: content[split].pop("text_bert")


@pytest.mark.parametrize(
    ("spoil", "choices", "message"),
    [
        (without("valid"), {}, "no field text_bert in valid: tokenise its raw_text"),
        (without("valid"), {"choice": "text_bert"}, "no field text_bert in valid"),
        (None, {"choice": "raw_text"}, "raw_text needs --tokenizer"),
        (None, {"choice": "other"}, "choose auto, text_bert or raw_text"),
        (None, {"choice": "text_bert", "tokenizer": "corpus"}, "corpus would make a new"),
        (None, {"preset": OWN}, "nobody knows whose token ids"),
        (None, {"limit": 1}, "at least 2 places"),
        (
            lambda c: c["test"].update(text_bert=np.zeros((7, 10, 3))),
            {},
            r"text_bert has samples of the shape \(10, 3\)",
        ),
    ],
)
def test_contradictions(tmp_path, content, spoil, choices, message):
    if spoil:
        spoil(content)
    with pytest.raises(DataError, match=message):
        choose(tmp_path, content, **choices)
