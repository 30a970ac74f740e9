"""The text encoder: what it refuses, in one line that names the remedy."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from builders import TOKENIZER
from encoder_files import SIZES, WORDS, build, words_of, write_bert
from safetensors.torch import load_file, save_file
from transformers import BertConfig, T5Config

from lnln_dist.config import EncoderConfig
from lnln_dist.errors import ConfigError, DataError
from lnln_dist.models.text import build_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


def one_line(error: BaseException) -> str:
    message = str(error)
    assert "\n" not in message
    return message


def test_tiny_needs_to_know_the_vocabulary() -> None:
    unknown = SimpleNamespace(**(vars(TOKENIZER) | {"vocab_size": None}))
    with pytest.raises(DataError, match="--tokenizer"):
        build_encoder(EncoderConfig(name="tiny"), tokenizer=unknown, max_length=12)


def test_files_of_torch_are_read_without_running_them(folder: Path, tmp_path: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(stored, folder / "pytorch_model.bin")
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(build(folder).model.state_dict()[name], stored[name])

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({name: Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot load the weights"):
        build(folder)
    assert not (tmp_path / "ran").exists()


def edit(folder: Path, *, drop: str = "", add: str = "") -> None:
    stored = load_file(folder / "model.safetensors")
    stored = {name: value for name, value in stored.items() if name != drop}
    extra = {add: torch.zeros(1)} if add else {}
    save_file(stored | extra, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_and_unknown_weights_are_named(folder: Path) -> None:
    edit(folder, add="encoder.layer.7.extra")
    with pytest.raises(
        ConfigError, match=r"unknown weights \(1: encoder\.layer\.7\.extra\)"
    ) as err:
        build(folder)
    one_line(err.value)
    edit(folder, drop="embeddings.LayerNorm.weight")
    with pytest.raises(ConfigError, match=r"lacks weights .*embeddings\.LayerNorm") as err:
        build(folder)
    one_line(err.value)


def test_weights_of_other_sizes_are_refused(folder: Path) -> None:
    BertConfig(**SIZES | {"hidden_size": 12}).save_pretrained(folder)
    with pytest.raises(ConfigError, match="cannot load the weights") as err:
        build(folder)
    one_line(err.value)


def test_another_tokenizer_than_the_data_s_is_refused(folder: Path) -> None:
    swapped = WORDS | {"word4": 5, "word5": 4}
    with pytest.raises(
        DataError, match=r"tokenizer words, encoder .* prepare .*--tokenizer"
    ) as err:
        build(folder, words_of(swapped))
    one_line(err.value)


def test_data_of_unknown_origin_must_agree_in_the_special_ids(folder: Path) -> None:
    build(folder, words_of(WORDS, vocab_sha256=None))
    with pytest.raises(DataError, match="--tokenizer"):
        build(folder, words_of(WORDS, vocab_sha256=None, unk_id=2))


def test_more_ids_than_the_encoder_has_are_refused_without_a_tokenizer_too(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    build(folder, words_of({"other": 0}))  # nothing to compare with
    with pytest.raises(DataError, match="41 ids"):
        build(folder, words_of(WORDS, vocab_size=41))


def test_a_vocabulary_of_lines_counts_like_one_of_json(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    build(folder)
    with pytest.raises(DataError, match="--tokenizer"):
        build(folder, words_of(WORDS | {"more": 99}))


def test_a_broken_tokenizer_is_an_error_not_an_unchecked_pass(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot read the tokenizer"):
        build(folder)


def test_text_longer_than_the_encoder_s_positions_is_refused(folder: Path) -> None:
    build(folder, length=20)
    with pytest.raises(ConfigError, match="takes 20 tokens, the data has up to 21"):
        build(folder, length=21)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c"])
def test_a_folder_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no folder {name}"):
        build(name)


def test_a_name_that_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    with pytest.raises(ConfigError, match=r"HF_HUB_OFFLINE is set .* local folder .* tiny") as err:
        build("no-such-encoder")
    one_line(err.value)


def test_a_hub_out_of_reach_is_one_line_without_waiting(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9 is out of reach .* tiny") as err:
        build("no-such-encoder")
    one_line(err.value)
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        build(tmp_path)
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(ConfigError, match=r"cannot read .*config\.json") as err:
        build(tmp_path)
    one_line(err.value)
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="t5 model, not a BERT-type encoder"):
        build(tmp_path)


def test_remote_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match="cannot read") as err:
        build(folder)
    one_line(err.value)
    assert not (tmp_path / "ran").exists()
