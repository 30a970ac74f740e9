"""A tiny feature file, prepared, and tiny runs with random weights for it."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import torch

from lnln_dist.config import REGRESSION, DataConfig, EncoderConfig, TaskConfig, TrainConfig
from lnln_dist.data.convert import prepare
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import open_dataset
from lnln_dist.models import InputShapes, build_network
from lnln_dist.models.text import build_encoder, save_encoder
from lnln_dist.runs import RunInfo, save_best, write_run
from lnln_dist.settings import config_hash
from lnln_dist.specs.lnln import LNLNConfig
from lnln_dist.specs.registry import make_config

WORDS = ["good", "bad", "fine", "film", "plot", "actor", "very", "not", "dull", "great"]
SIZES = {"train": 12, "valid": 5, "test": 11}
MODEL = LNLNConfig(
    encoder=EncoderConfig(name="tiny", tiny_width=8, tiny_depth=1, tiny_heads=2),
    width=8,
    tokens=2,
    heads=2,
    head_width=4,
    embedding_depth=1,
    completeness_depth=1,
    proxy_depth=1,
    reconstructor_depth=1,
    hyper_depth=2,
    fusion_depth=1,
)


def write_pickle(path: Path, *, seed: int = 0, audio_width: int = 3, long: int = 9) -> Path:
    """An MMSA file without ``text_bert``; audio up to ``long`` places, vision up to 6."""
    rng = np.random.default_rng(seed)
    content = {}
    for split, n in SIZES.items():
        lengths = {"audio": rng.integers(1, long + 1, n), "vision": rng.integers(1, 7, n)}
        lengths["audio"][0], lengths["vision"][0] = long, 6
        frames = {}
        for m, (places, width) in {"audio": (long, audio_width), "vision": (6, 4)}.items():
            frames[m] = rng.normal(size=(n, places, width)).astype(np.float32)
            frames[m][np.arange(places) >= lengths[m][:, None]] = 0
        content[split] = {
            "id": [f"{split}{i}$_$0" for i in range(n)],
            "raw_text": [" ".join(rng.choice(WORDS, rng.integers(1, 7))) for _ in range(n)],
            **frames,
            **{f"{m}_lengths": lengths[m].tolist() for m in frames},
            "regression_labels": np.linspace(-3, 2.5, n).round(1),
        }
    path.write_bytes(pickle.dumps(content))
    return path


def write_data(folder: Path, **choices: int) -> Index:
    """``write_pickle``'s file, prepared."""
    source = write_pickle(folder.with_suffix(".pkl"), **choices)
    return prepare(source, folder, dataset="mosi", tokenizer="corpus")


def write_tiny_run(
    folder: Path,
    data: Path,
    *,
    seed: int = 1,
    padding: str = "batch",
    names: tuple[str, ...] = ("best",),
    task: TaskConfig = REGRESSION,
    **info: object,
) -> Path:
    """A run folder whose checkpoints have random weights, one draw per name."""
    dataset = open_dataset(data)
    index = dataset.index
    shapes = InputShapes.of(widths=index.widths, lengths=index.padded_lengths)
    model_config = dataclasses.replace(MODEL, mask_padding=padding == "batch")
    config = make_config(
        data=DataConfig(path=str(data), padding=padding),
        model=model_config,
        train=TrainConfig(seed=seed),
        task=task,
    )
    for number, name in enumerate(names):
        torch.manual_seed(1000 * seed + number)
        encoder = build_encoder(
            model_config.encoder, tokenizer=index.tokenizer, max_length=shapes.text_length
        )
        model = build_network(config, encoder, shapes)
        note = {"epoch": 3, "step": 9, "metric": "mae", "score": 1.0, "selected_on": "valid"}
        save_best(folder, model.state_dict(), note, name=name)
    save_encoder(encoder, folder / "encoder", tokenizer=dataset.folder / "tokenizer")
    fields = {
        "dataset": index.dataset,
        "family": index.family,
        "label_range": index.label_range,
        "config_hash": config_hash(config),
        "data_hash": index.data_hash(),
        "vocab_sha256": index.tokenizer.vocab_sha256,
        "shapes": shapes,
        "parameters": 1,
    }
    write_run(folder, config, RunInfo(**{**fields, **info}))
    return folder
