"""Folders of small encoders and tokenizers, as published ones are laid out."""

from pathlib import Path
from types import SimpleNamespace

import torch
from builders import TOKENIZER
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel

from lnln_dist.config import EncoderConfig
from lnln_dist.models.text import TextEncoder, build_encoder
from lnln_dist.vocabulary import vocabulary_sha256

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, **{f"word{i}": i for i in range(4, 40)}}
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 20,
}


def words_of(vocabulary: dict[str, int], **changes: object) -> SimpleNamespace:
    values = vars(TOKENIZER) | {"vocab_sha256": vocabulary_sha256(vocabulary)} | changes
    return SimpleNamespace(**values)


def save_words(folder: Path, vocabulary: dict[str, int]) -> None:
    Tokenizer(WordLevel(vocabulary, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")


def write_bert(folder: Path) -> Path:
    """A BERT with pooler, and its tokenizer."""
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES)).save_pretrained(folder)
    save_words(folder, WORDS)
    return folder


def build(folder: Path | str, tokenizer: object = None, length: int = 12, **changes) -> TextEncoder:
    config = EncoderConfig(name=str(folder), **changes)
    return build_encoder(config, tokenizer=tokenizer or words_of(WORDS), max_length=length)


def inputs(size: int = 2, places: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)  # apart from the stream that dropout draws from
    ids = torch.randint(4, len(WORDS), (size, places), generator=generator)
    valid = torch.ones(size, places, dtype=torch.bool)
    valid[-1, 3:] = False
    return ids, valid, torch.zeros_like(ids)
