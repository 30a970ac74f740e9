"""Checkpoints of the released code as run folders."""

from pathlib import Path

import pytest
import torch
from encoder_files import SIZES, WORDS
from transformers import BertConfig, BertModel

from lnln_dist import settings
from lnln_dist.compat.import_run import import_checkpoint
from lnln_dist.compat.official_names import official_name
from lnln_dist.config import EncoderConfig
from lnln_dist.errors import CheckpointError, DataError, UserError
from lnln_dist.evaluate.load import load_model
from lnln_dist.models import InputShapes
from lnln_dist.models.lnln import LNLN
from lnln_dist.models.text import TextEncoder
from lnln_dist.runs import Run
from lnln_dist.specs.lnln import LNLNConfig
from lnln_dist.vocabulary import vocabulary_sha256

SHAPES = InputShapes(audio_width=5, vision_width=7, text_length=11, audio_length=9, vision_length=8)
RECIPE = Path(__file__).resolve().parents[2] / "configs" / "recipes" / "official.yaml"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    BertConfig(**SIZES).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    return folder


@pytest.fixture
def model(bert: Path) -> LNLN:
    torch.manual_seed(0)
    config = LNLNConfig(
        encoder=EncoderConfig(name=str(bert)), width=16, tokens=3, heads=1, fusion_depth=2
    )
    encoder = TextEncoder(BertModel(BertConfig(**SIZES), add_pooling_layer=False))
    return LNLN(config, encoder, SHAPES)


@pytest.fixture
def file(tmp_path: Path, model: LNLN) -> Path:
    tensors = {official_name(name): p.detach() for name, p in model.named_parameters()}
    torch.save({"state_dict": tensors}, tmp_path / "acc7_3.pth")
    return tmp_path / "acc7_3.pth"


def test_the_run_predicts_with_the_files_weights(
    tmp_path: Path, bert: Path, file: Path, model: LNLN
) -> None:
    import_checkpoint(file, tmp_path / "run", encoder=bert, dataset="mosi")
    run = Run(tmp_path / "run")
    loaded, _ = load_model(run)
    assert all(torch.equal(p, loaded.state_dict()[n]) for n, p in model.state_dict().items())
    assert run.info.shapes == SHAPES
    assert run.info.origin == "imported"
    assert run.info.data_hash is None
    assert run.info.parameters == sum(p.numel() for p in model.parameters())
    assert run.info.config_hash == settings.config_hash(run.config)
    _, note = run.load_best()
    assert note["origin"] == "imported"
    assert note["file"] == "acc7_3.pth"
    assert note["selected_on"] == "unknown"


def test_the_vocabulary_is_the_encoders(tmp_path: Path, bert: Path, file: Path) -> None:
    info = import_checkpoint(file, tmp_path / "run", encoder=bert, dataset="mosi")
    assert info.vocab_sha256 == vocabulary_sha256(WORDS)
    assert (tmp_path / "run" / "encoder" / "vocab.txt").is_file()


def test_without_a_tokenizer_the_vocabulary_is_unknown(
    tmp_path: Path, bert: Path, file: Path
) -> None:
    (bert / "vocab.txt").unlink()
    info = import_checkpoint(file, tmp_path / "run", encoder=bert, dataset="mosi")
    assert info.vocab_sha256 is None


@pytest.mark.parametrize(("dataset", "adversarial"), [("mosi", 0.8), ("mosei", 0.8), ("sims", 0.6)])
def test_settings_are_the_official_recipes(
    tmp_path: Path, bert: Path, file: Path, dataset: str, adversarial: float
) -> None:
    info = import_checkpoint(file, tmp_path / "run", encoder=bert, dataset=dataset)
    config = settings.to_dict(Run(tmp_path / "run").config)
    recipe = settings.flatten(settings.read_config(RECIPE))
    assert recipe
    assert {k: v for k, v in settings.flatten(config).items() if k in recipe} == recipe
    assert config["loss"]["adversarial"] == adversarial
    assert config["model"]["width"] == 16
    assert config["model"]["fusion_depth"] == 2
    assert info.family == ("sims" if dataset == "sims" else "mosi")


def test_own_data_sets_say_how_they_are_scored(tmp_path: Path, bert: Path, file: Path) -> None:
    with pytest.raises(DataError, match="--family"):
        import_checkpoint(file, tmp_path / "run", encoder=bert, dataset="mine")
    info = import_checkpoint(
        file,
        tmp_path / "run",
        encoder=bert,
        dataset="mine",
        family="sims",
        label_range=(-1.0, 1.0),
    )
    assert (info.dataset, info.family) == ("mine", "sims")


def test_refusals_leave_nothing(tmp_path: Path, bert: Path, file: Path) -> None:
    bad = tmp_path / "bad.pth"
    torch.save({"weight": torch.zeros(1)}, bad)
    target = tmp_path / "run"
    with pytest.raises(CheckpointError, match="not a checkpoint of LNLN"):
        import_checkpoint(bad, target, encoder=bert, dataset="mosi")
    with pytest.raises(CheckpointError, match=r"--encoder .*no such folder"):
        import_checkpoint(file, target, encoder=tmp_path / "none", dataset="mosi")
    assert not target.exists()
    target.mkdir()
    (target / "mine").write_text("")
    with pytest.raises(UserError, match="exists"):
        import_checkpoint(file, target, encoder=bert, dataset="mosi")
    import_checkpoint(file, target, encoder=bert, dataset="mosi", overwrite=True)
    assert not (target / "mine").exists()
