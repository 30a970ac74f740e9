"""Small networks and random batches for the model tests."""

from collections.abc import Mapping
from types import SimpleNamespace

import torch
from torch.utils._pytree import tree_map_only

from lnln_dist.config import EncoderConfig, LossConfig
from lnln_dist.models import InputShapes
from lnln_dist.models.lnln import LNLN
from lnln_dist.models.text import build_encoder
from lnln_dist.specs.lnln import LNLNConfig
from lnln_dist.specs.registry import loss_weights
from lnln_dist.types import Batch, ClassTarget, Losses, SequenceInput, TextInput

VOCABULARY = 40
TOKENIZER = SimpleNamespace(
    name="words", vocab_size=VOCABULARY, vocab_sha256=None, pad_id=0, unk_id=1, cls_id=2, sep_id=3
)
SHAPES = InputShapes(
    audio_width=5, vision_width=3, text_length=12, audio_length=20, vision_length=16, rows=13
)
WIDTHS = {"audio": SHAPES.audio_width, "vision": SHAPES.vision_width}
LENGTHS = {"text": (12, 5, 7), "audio": (20, 1, 9), "vision": (4, 16, 11)}
OFFICIAL = {"reversal": "proxy", "discriminator_input": "corrected", "mask_padding": False}


def small_config(*, freeze: str = "none", dropout: float = 0.0, **changes: object) -> LNLNConfig:
    """Width 16, 2 tokens, a tiny encoder without dropout."""
    encoder = EncoderConfig(
        name="tiny", tiny_width=8, tiny_depth=1, tiny_heads=2, freeze=freeze, dropout=dropout
    )
    sizes = {"width": 16, "tokens": 2, "heads": 2, "head_width": 8, "fusion_depth": 2}
    return LNLNConfig(**{"encoder": encoder, **sizes, **changes})


def small_model(*, seed: int = 0, **changes: object) -> LNLN:
    """A network of ``small_config`` in float64 with random weights."""
    torch.manual_seed(seed)
    config = small_config(**changes)
    encoder = build_encoder(config.encoder, tokenizer=TOKENIZER, max_length=SHAPES.text_length)
    model = LNLN(config, encoder, SHAPES)
    with torch.no_grad():  # nothing may hide behind a zero or a one
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.double()


def random_batch(
    *, lengths: Mapping[str, tuple[int, ...]] = LENGTHS, extra: int = 0, seed: int = 0
) -> Batch:
    """Samples of the given valid lengths, half damaged, padded by ``extra`` places more."""
    generator = torch.Generator().manual_seed(seed)
    size = len(lengths["text"])
    rate_B = torch.rand(size, generator=generator)

    def masks(modality: str) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(lengths[modality])
        valid = torch.arange(width)[None] < torch.tensor(lengths[modality])[:, None]
        keep = valid & (torch.rand(valid.shape, generator=generator) > 0.5)
        pad = (0, extra)
        return torch.nn.functional.pad(valid, pad), torch.nn.functional.pad(keep, pad)

    def frames(modality: str) -> SequenceInput:
        width = max(lengths[modality])
        values = torch.randn(size, width, WIDTHS[modality], generator=generator).double()
        valid, keep = masks(modality)
        values = torch.nn.functional.pad(values, (0, 0, 0, extra)) * valid[..., None]
        return SequenceInput(values, valid, keep, rate_B)

    width = max(lengths["text"])
    ids = torch.randint(4, VOCABULARY, (size, width), generator=generator)
    segments = torch.randint(0, 2, (size, width), generator=generator)
    valid, keep = masks("text")
    ids, segments = (torch.nn.functional.pad(x, (0, extra)) * valid for x in (ids, segments))
    noisy = torch.where(valid & ~keep, TOKENIZER.unk_id, ids)
    return Batch(
        text=TextInput(ids, noisy, segments, valid, keep, rate_B),
        audio=frames("audio"),
        vision=frames("vision"),
        label_B=torch.randn(size, generator=generator),
        weight_B=torch.ones(size),
        row_B=torch.arange(size),
        target=ClassTarget(
            torch.randint(3, (size,), generator=generator), torch.rand(size, generator=generator)
        ),
    )


def weighted_total(terms: Mapping[str, torch.Tensor], weights: LossConfig) -> torch.Tensor:
    """The terms times their weights, added up."""
    return Losses(terms, loss_weights(weights), {}).total()


def single(batch: Batch) -> Batch:
    """Its doubles as floats."""
    return tree_map_only(
        torch.Tensor, lambda x: x.float() if x.dtype == torch.float64 else x, batch
    )


def take(batch: Batch, rows: list[int]) -> Batch:
    """Some samples of a batch, padding kept."""

    def pick(value: object) -> object:
        if value is None:
            return None
        if isinstance(value, torch.Tensor):
            return value[rows]
        return type(value)(*(pick(part) for part in value))

    return pick(batch)
