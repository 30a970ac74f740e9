"""A small network for the cost tests: fake, and the same with numbers."""

import torch
from builders import SHAPES, TOKENIZER, random_batch, single, small_config
from torch import nn

from lnln_dist.config import DataConfig
from lnln_dist.cost.skeleton import Lengths, Skeleton
from lnln_dist.models.lnln import LNLN
from lnln_dist.models.text import build_encoder
from lnln_dist.specs.lnln import LNLNConfig
from lnln_dist.specs.registry import make_config

LENGTHS = Lengths(text=9, audio=17, vision=11)


# One layer of each part: the costs of Python, not of the network, decide how long a test takes.
ONCE = ("embedding", "completeness", "proxy", "reconstructor", "fusion")
SHALLOW = {f"{part}_depth": 1 for part in ONCE} | {"hyper_depth": 2}


def shallow_config(**changes: object) -> LNLNConfig:
    return small_config(**{**SHALLOW, **changes})


def skeleton(config: LNLNConfig | None = None) -> Skeleton:
    model = config or shallow_config()
    padding = "batch" if model.mask_padding else "corpus"
    given = make_config(model=model, data=DataConfig(padding=padding))
    return Skeleton(given, tokenizer=TOKENIZER, shapes=SHAPES)


def real_model(config: LNLNConfig | None = None) -> LNLN:
    config = config or shallow_config()
    encoder = build_encoder(config.encoder, tokenizer=TOKENIZER, max_length=SHAPES.text_length)
    return LNLN(config, encoder, SHAPES).train()


def real_loss(model: nn.Module, size: int, lengths: Lengths = LENGTHS) -> torch.Tensor:
    """The loss of a float32 batch; one sample is shorter, or the text's mask would be dropped."""
    places = {m: getattr(lengths, m) for m in ("text", "audio", "vision")}
    every = {m: (n,) * (size - 1) + (n - 1,) for m, n in places.items()}
    return model.losses(single(random_batch(lengths=every))).total()
