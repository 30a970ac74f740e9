"""Reading checkpoints of the released code: sizes, forms of the file, refusals."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from lnln_dist.compat.official_checkpoint import read_official
from lnln_dist.compat.official_names import official_name
from lnln_dist.config import EncoderConfig
from lnln_dist.errors import CheckpointError, ConfigError
from lnln_dist.models import InputShapes
from lnln_dist.models.lnln import LNLN
from lnln_dist.models.text import TextEncoder
from lnln_dist.specs.lnln import LNLNConfig

BERT = {
    "vocab_size": 30,
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 10,
    "max_position_embeddings": 16,
}
SHAPES = InputShapes(
    audio_width=5, vision_width=7, text_length=11, audio_length=9, vision_length=13
)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    BertConfig(**BERT).save_pretrained(folder)
    return folder


def network(bert: Path) -> LNLN:
    """Every depth another one, so that none can be mistaken."""
    torch.manual_seed(0)
    config = LNLNConfig(
        encoder=EncoderConfig(name=str(bert)),
        width=24,
        tokens=3,
        heads=2,
        embedding_depth=1,
        completeness_depth=2,
        proxy_depth=3,
        reconstructor_depth=4,
        hyper_depth=5,
        fusion_depth=6,
        reversal="proxy",
        discriminator_input="corrected",
        mask_padding=False,
    )
    return LNLN(config, TextEncoder(BertModel(BertConfig(**BERT), add_pooling_layer=False)), SHAPES)


@pytest.fixture(scope="module")
def model(bert: Path) -> LNLN:
    return network(bert)


@pytest.fixture
def tensors(model: LNLN) -> dict[str, Tensor]:
    return {official_name(name): p.detach() for name, p in model.named_parameters()}


def write(folder: Path, content: object) -> Path:
    torch.save(content, folder / "model.pth")
    return folder / "model.pth"


def test_sizes_are_read_off_the_tensors(
    tmp_path: Path, bert: Path, model: LNLN, tensors: dict[str, Tensor]
) -> None:
    read = read_official(write(tmp_path, {"epoch": 3, "state_dict": tensors}), bert)
    assert read.model_config == model.config
    assert read.shapes == SHAPES
    state = model.state_dict()
    assert read.state.keys() == state.keys()
    assert all(torch.equal(read.state[name], value) for name, value in state.items())


def prefixed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in tensors.items()}


def with_leftovers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    extra = {
        "bertmodel.model.pooler.dense.weight": torch.zeros(12, 12),
        "bertmodel.model.pooler.dense.bias": torch.zeros(12),
        "bertmodel.model.embeddings.position_ids": torch.arange(16)[None],
    }
    return tensors | extra


@pytest.mark.parametrize(
    "change", [dict, prefixed, with_leftovers, lambda t: {"state_dict": prefixed(t)}]
)
def test_bare_prefixed_and_left_over_tensors_are_all_right(
    tmp_path: Path, bert: Path, model: LNLN, tensors: dict[str, Tensor], change
) -> None:
    read = read_official(write(tmp_path, change(tensors)), bert)
    assert read.state.keys() == model.state_dict().keys()


def test_half_precision_is_widened(tmp_path: Path, bert: Path, tensors: dict[str, Tensor]) -> None:
    half = {name: value.half() for name, value in tensors.items()}
    read = read_official(write(tmp_path, half), bert)
    assert {value.dtype for value in read.state.values()} == {torch.float32}
    assert torch.equal(read.state["proxy.start"], half["h_p"].float())


def refused(path: Path, bert: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as err:
        read_official(path, bert)
    assert "\n" not in str(err.value)


def test_missing_and_unknown_tensors_are_named_in_the_file_s_own_spelling(
    tmp_path: Path, bert: Path, tensors: dict[str, Tensor]
) -> None:
    less = {name: value for name, value in tensors.items() if name != "dmml.3.bias"}
    refused(write(tmp_path, less), bert, r"lacks dmml\.3\.bias")
    less = {name: value for name, value in tensors.items() if "reconstructor.2" not in name}
    refused(write(tmp_path, less), bert, r"lacks reconstructor\.2.* and \d+ more")
    more = tensors | {"proj_smell.weight": torch.zeros(1)}
    refused(write(tmp_path, more), bert, r"unknown tensors proj_smell\.weight")


def test_wrong_sizes_are_named(tmp_path: Path, bert: Path, tensors: dict[str, Tensor]) -> None:
    wrong = tensors | {"effective_discriminator.2.bias": torch.zeros(5)}
    refused(
        write(tmp_path, wrong), bert, r"effective_discriminator\.2\.bias \(5,\) instead of \(2,\)"
    )


def test_another_encoder_s_folder_is_noticed(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    other = tmp_path / "other"
    BertConfig(**BERT | {"vocab_size": 31}).save_pretrained(other)
    refused(write(tmp_path, tensors), other, r"word_embeddings.* \(30, 12\) instead of \(31, 12\)")
    with pytest.raises(ConfigError, match="no folder"):
        read_official(tmp_path / "model.pth", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["proj_l.1.extra_token", "h_p", "dmml.1.layers."])
def test_files_of_other_models_are_refused(
    tmp_path: Path, bert: Path, tensors: dict[str, Tensor], name: str
) -> None:
    rest = {n: value for n, value in tensors.items() if not n.startswith(name)}
    refused(write(tmp_path, rest), bert, name.replace(".", r"\."))


def test_sizes_that_do_not_go_together_are_refused(
    tmp_path: Path, bert: Path, tensors: dict[str, Tensor]
) -> None:
    name = "proj_l.1.encoder.layers.0.0.fn.to_q.weight"
    for shape in ((100, 24), (64 * 5, 24)):
        wrong = tensors | {name: torch.zeros(shape)}
        refused(write(tmp_path, wrong), bert, "do not go together")
    refused(write(tmp_path, tensors | {"proj_l.0.weight": torch.tensor(1.0)}), bert, "go together")


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (Evil(), "could run code"),
        ({"state_dict": {"h_p": Evil()}}, "could run code"),
        ([1, 2], "no named tensors"),
        ({}, "no named tensors"),
        ({"epoch": 3, "lr": 0.1}, "epoch is not a tensor"),
    ],
    ids=["code", "code inside", "list", "empty", "no tensors"],
)
def test_other_contents_are_refused_and_never_run(
    tmp_path: Path, bert: Path, capfd: pytest.CaptureFixture, content: object, match: str
) -> None:
    refused(write(tmp_path, content), bert, match)
    assert "ran" not in capfd.readouterr().out


def test_files_that_cannot_be_read_are_refused(
    tmp_path: Path, bert: Path, tensors: dict[str, Tensor]
) -> None:
    refused(tmp_path / "nowhere.pth", bert, "there is no file")
    path = write(tmp_path, tensors)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, bert, "cannot read|could run code")
    path.write_bytes(b"")
    refused(path, bert, "cannot read|could run code")
    path.write_text("hello")
    refused(path, bert, "cannot read|could run code")
    refused(tmp_path, bert, "cannot read")


def test_the_reference_checkpoint(shared: Path) -> None:
    folder = shared / "parity" / "official_checkpoint"
    read = read_official(folder / "official_checkpoint.pth", folder / "bert")
    config = read.model_config
    assert (config.width, config.tokens, config.heads, config.head_width) == (128, 8, 8, 64)
    assert (config.embedding_depth, config.hyper_depth, config.fusion_depth) == (2, 3, 2)
    assert read.shapes == InputShapes(
        audio_width=5, vision_width=20, text_length=12, audio_length=24, vision_length=30
    )
    assert len(read.state) == 457
