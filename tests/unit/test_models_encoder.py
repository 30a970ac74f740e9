"""Folders and names of encoders, and checks against the data on plain values."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lnln_dist.errors import ConfigError, DataError
from lnln_dist.models.encoder import (
    EncoderSource,
    check_positions,
    check_vocabulary,
    check_weights,
)
from lnln_dist.vocabulary import vocabulary_sha256

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}


def data(**changes: object) -> SimpleNamespace:
    known = {"name": "words", "vocab_size": 4, "vocab_sha256": vocabulary_sha256(WORDS)}
    special = {"pad_id": 0, "unk_id": 1, "cls_id": 2, "sep_id": 3}
    return SimpleNamespace(**(known | special | changes))


def test_the_same_vocabulary_passes_whatever_the_table_s_spare_rows() -> None:
    check_vocabulary("e", data(), vocabulary=WORDS, size=100)
    check_vocabulary("e", data(), vocabulary=None, size=4)


@pytest.mark.parametrize(
    ("changes", "vocabulary", "size"),
    [
        ({}, WORDS | {"more": 4}, 5),
        ({"vocab_sha256": None, "cls_id": 9}, WORDS, 10),
        ({"vocab_sha256": None, "sep_id": 9}, WORDS, 10),
        ({"vocab_size": 5}, None, 4),
    ],
)
def test_differences_name_both_and_the_remedy(changes: dict, vocabulary: dict, size: int) -> None:
    with pytest.raises(DataError, match=r"tokenizer words.*encoder e .*--tokenizer e"):
        check_vocabulary("e", data(**changes), vocabulary=vocabulary, size=size)


def test_other_spellings_of_special_tokens_are_not_compared() -> None:
    spelled = {"<pad>": 1, "<unk>": 3, "<s>": 0}
    check_vocabulary("e", data(vocab_sha256=None), vocabulary=spelled, size=10)


def test_positions() -> None:
    check_positions("e", limit=None, length=10**6)
    check_positions("e", limit=8, length=8)
    with pytest.raises(ConfigError, match=r"model\.encoder\.name: e takes 8 tokens.* up to 9"):
        check_positions("e", limit=8, length=9)


def test_heads_and_poolers_are_passed_over_with_and_without_prefix() -> None:
    heads = ["pooler.dense.weight", "bert.pooler.dense.bias", "cls.predictions.bias"]
    check_weights("e", prefix="bert.", missing=[], unexpected=heads)
    with pytest.raises(ConfigError, match=r"unknown weights \(1: bert\.encoder\.x\)"):
        check_weights("e", prefix="bert.", missing=[], unexpected=[*heads, "bert.encoder.x"])
    with pytest.raises(ConfigError, match=r"lacks weights \(5: a, b, c, \.\.\.\)"):
        check_weights("e", prefix="bert.", missing=list("edcba"), unexpected=[])


def test_a_folder_is_taken_as_such_and_never_asks_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lnln_dist.models.encoder.why_offline", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    with pytest.raises(ConfigError, match="not an encoder"):
        EncoderSource.of("bert")
    (tmp_path / "bert" / "config.json").write_text("{}")
    source = EncoderSource.of("bert")
    assert (source.place, source.folder) == (str(tmp_path / "bert"), Path("bert"))
    assert source.offline


class Session:
    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def head(self, url: str, *, timeout: float) -> None:
        if self.error:
            raise self.error


def test_the_hub_is_asked_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: Session(None))
    assert EncoderSource.of("bert-base-uncased").offline == ""
    monkeypatch.setattr("huggingface_hub.get_session", lambda: Session(RuntimeError("no route")))
    assert "out of reach" in EncoderSource.of("someone/bert").offline
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    assert "HF_HUB_OFFLINE" in EncoderSource.of("someone/bert").offline


def test_files_are_found_in_folders_and_missing_ones_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    source = EncoderSource.of(str(tmp_path))
    assert source.find("config.json") == tmp_path / "config.json"
    assert source.find("vocab.txt") is None


def test_a_file_that_is_not_in_the_cache_is_none_offline() -> None:
    assert EncoderSource("no/such", "no/such", None, "offline").find("vocab.txt") is None
