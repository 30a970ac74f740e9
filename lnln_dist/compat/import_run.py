"""A checkpoint of the released code as a run folder that ``evaluate`` and ``predict`` take."""

from pathlib import Path

from lnln_dist.compat.official_checkpoint import OfficialModel, read_official
from lnln_dist.config import Config, DataConfig, OptimConfig, SelectConfig
from lnln_dist.data.presets import find_preset
from lnln_dist.data.tokens import load_tokenizer
from lnln_dist.errors import CheckpointError
from lnln_dist.files import atomic_folder, sha256_file
from lnln_dist.metrics import Family
from lnln_dist.models.text import load_encoder_skeleton, save_encoder
from lnln_dist.runs import RunInfo, git_commit, installed_versions, save_best, write_run
from lnln_dist.settings import config_hash
from lnln_dist.specs.lnln import LNLNLoss
from lnln_dist.specs.registry import make_config


def import_checkpoint(
    file: Path,
    target: Path,
    *,
    encoder: Path,
    dataset: str,
    family: Family | None = None,
    label_range: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> RunInfo:
    """Writes a run folder from a checkpoint file.

    Sizes are read off the tensors. The file does not say how it was trained: the config has the
    released recipe's values there, and the checkpoint's note says that its choice is unknown.

    Args:
        file: a .pth of the released code.
        target: the run folder to write.
        encoder: folder of the BERT it was trained with: config.json and tokenizer files.
        dataset: mosi, mosei, sims, or an own name with ``family`` and ``label_range``.
        family: scoring of an own data set.
        label_range: lowest and highest label of an own data set.
        overwrite: replace an existing ``target``.

    Raises:
        UserError: the file is no such checkpoint or does not fit the encoder, ``dataset`` is
            not known, or the target cannot be written.
    """
    preset = find_preset(dataset, family, label_range)
    if not encoder.is_dir():
        raise CheckpointError(
            f"--encoder {encoder}: no such folder; give the one of the BERT it was trained with"
        )
    model = read_official(file, encoder)
    config = _config(model, dataset)
    info = RunInfo(
        dataset=preset.dataset,
        family=preset.family,
        label_range=preset.label_range,
        config_hash=config_hash(config),
        data_hash=None,
        vocab_sha256=_vocabulary(encoder),
        shapes=model.shapes,
        origin="imported",
        parameters=sum(value.numel() for value in model.state.values()),
        git_commit=git_commit(),
        versions=installed_versions(),
    )
    note = {
        "origin": "imported",
        "file": file.name,
        "sha256": sha256_file(file),
        "selected_on": "unknown",
    }
    with atomic_folder(target, overwrite=overwrite) as folder:
        save_encoder(load_encoder_skeleton(encoder), folder / "encoder", tokenizer=encoder)
        save_best(folder, model.state, note)
        write_run(folder, config, info)
    return info


def _config(model: OfficialModel, dataset: str) -> Config:
    """The released recipe (``configs/recipes/official.yaml``) with the checkpoint's sizes."""
    return make_config(
        recipe="official",
        data=DataConfig(padding="corpus"),
        model=model.model_config,
        loss=LNLNLoss(adversarial=0.6 if dataset == "sims" else 0.8),
        optim=OptimConfig(schedule="official", clip_norm=0.0, decay_all=True),
        select=SelectConfig(
            split="test", rates=(0.5,), seeds=(1111,), noise="official", per_metric=True
        ),
    )


def _vocabulary(encoder: Path) -> str | None:
    """Hash of the encoder's vocabulary; None if its folder has no tokenizer."""
    if not any((encoder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        return None
    return load_tokenizer(str(encoder)).info.vocab_sha256
