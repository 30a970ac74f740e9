"""Prepared data as a feature file that MMSA's loader takes: the fields of the published ones.

``text`` holds a frozen encoder's last hidden states, which MMSA reads where it is not told to
``use_bert``; ``text_bert`` the token ids, which it reads there, and which ``prepare`` reads.
"""

import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lnln_dist.config import EncoderConfig
from lnln_dist.data.convert import prepare
from lnln_dist.data.mmsa import LABELS
from lnln_dist.data.schema import FRAMES, SPLITS, FrameModality, Index
from lnln_dist.data.shards import ShardedDataset, Split, open_dataset
from lnln_dist.data.synthetic import annotated, synthesize
from lnln_dist.data.tokens import CORPUS
from lnln_dist.errors import UserError
from lnln_dist.files import PENDING, atomic_file, explain_os_errors
from lnln_dist.models.text import TextEncoder, build_encoder

TINY = "tiny"  # an encoder with random weights
_TEXTS = 32  # encoded at once


def encoder_for(tokenizer: str) -> str:
    """The encoder that goes with a tokenizer: of the same name; for ``corpus`` there is none."""
    return TINY if tokenizer == CORPUS else tokenizer


def write_mmsa(data: Path, target: Path, *, encoder: str, overwrite: bool = False) -> None:
    """Writes prepared data as a pickle, whole or not at all; needs the memory of its arrays.

    Args:
        data: folder of prepared data.
        target: file to write.
        encoder: hub name or folder of the model whose states become ``text``; ``tiny`` makes a
            small one with random weights, the same ones every time.
        overwrite: replace an existing file.

    Raises:
        ConfigError: the encoder cannot be had, or is too short for the texts.
        DataError: the token ids of the data are not the encoder's.
        UserError: ``target`` exists or cannot be written.
    """
    dataset = open_dataset(data)
    with atomic_file(target, overwrite=overwrite) as pending:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_encoder(
                EncoderConfig(name=encoder, freeze="all"),
                tokenizer=dataset.index.tokenizer,
                max_length=dataset.index.padded_lengths["text"],
            )
        content: dict[str, Any] = {name: _fields(dataset, name, model) for name in SPLITS}
        content["config"] = _description(dataset.index, encoder)
        with pending.open("wb") as file:
            pickler = pickle.Pickler(file, protocol=4)
            pickler.fast = True  # keeps no copy of what is written
            pickler.dump(content)


def synthesize_mmsa(
    target: Path, *, tokenizer: str, encoder: str, overwrite: bool = False, **corpus: Any
) -> dict[str, Any]:
    """Writes a synthetic corpus with the fields ``text_bert`` and ``text``.

    Args:
        target: file to write.
        tokenizer: as of ``prepare``.
        encoder: as of ``write_mmsa``.
        overwrite: replace an existing file.
        corpus: as of ``synthesize``, whose report is returned.

    Raises:
        DataError: impossible numbers.
        UserError: as ``write_mmsa``.
    """
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists: choose another file, remove it or pass --overwrite")
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=PENDING) as folder:
            plain, shards = Path(folder) / "plain.pkl", Path(folder) / "shards"
            report = synthesize(plain, **corpus)
            prepare(plain, shards, dataset=report["dataset"], tokenizer=tokenizer)
            plain.unlink()
            write_mmsa(shards, target, encoder=encoder, overwrite=overwrite)
    return report | {"bytes": target.stat().st_size}


def _fields(dataset: ShardedDataset, name: str, model: TextEncoder) -> dict[str, Any]:
    split, index = dataset.split(name), dataset.index
    text_bert_N3T = _tokens(split, index)
    labels = {label: split.label(label).copy() for label in index.labels}
    return {
        "raw_text": [split.raw_text(row) for row in range(len(split))],
        "id": split.ids,
        "text": _states(text_bert_N3T, model),
        "text_bert": text_bert_N3T,
        **{m: _padded(split, m, index) for m in FRAMES},
        **{f"{m}_lengths": split.lengths[m].copy() for m in FRAMES},
        **annotated(labels["label"]),
        **{LABELS[label]: label_N for label, label_N in labels.items()},
    }


def _tokens(split: Split, index: Index) -> NDArray[np.int64]:
    """Token ids, attention mask and segment ids, [N, 3, T]."""
    text_N3T = np.zeros((len(split), 3, index.padded_lengths["text"]), np.int64)
    text_N3T[:, 0] = index.tokenizer.pad_id
    for row, length in enumerate(split.lengths["text"]):
        text_N3T[row, :, :length] = split.tokens(row), np.ones(length), split.segments(row)
    return text_N3T


def _padded(split: Split, modality: FrameModality, index: Index) -> NDArray[np.float32]:
    shape = len(split), index.padded_lengths[modality], index.widths[modality]
    frames_NTD = np.zeros(shape, np.float32)
    for row, length in enumerate(split.lengths[modality]):
        frames_NTD[row, :length] = split.frames(modality, row)
    return frames_NTD


@torch.no_grad()
def _states(text_N3T: NDArray[np.int64], model: TextEncoder) -> NDArray[np.float32]:
    """Last hidden states, [N, T, D], zero on padding."""
    parts = []
    for start in range(0, len(text_N3T), _TEXTS):
        texts_B3T = torch.from_numpy(text_N3T[start : start + _TEXTS])
        ids_BT, mask_BT, segments_BT = texts_B3T.unbind(1)
        states_BTD = model(ids_BT, mask_BT.bool(), segments_BT)
        parts.append((states_BTD * mask_BT[..., None]).float())
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def _description(index: Index, encoder: str) -> dict[str, Any]:
    """The top-level ``config`` of the file: plain values only."""
    return {
        "generator": "lnln_dist",
        "dataset": index.dataset,
        "label_range": list(index.label_range),
        "tokenizer": index.tokenizer.name,
        "text": f"frozen {encoder}" + (", random weights" if encoder == TINY else ""),
        "extraction": index.extraction,
    }
