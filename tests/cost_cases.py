"""A small network for the cost tests: fake, and the same with numbers."""

import torch
from builders import SHAPES, TOKENIZER, random_batch, small_config
from torch.utils._pytree import tree_map

from lnln_dist.config import ModelConfig
from lnln_dist.cost.skeleton import Lengths, Skeleton
from lnln_dist.losses import lnln_terms
from lnln_dist.models import LNLN
from lnln_dist.models.text import build_encoder

LENGTHS = Lengths(text=9, audio=17, vision=11)


# One layer of each part: the costs of Python, not of the network, decide how long a test takes.
ONCE = ("embedding", "completeness", "proxy", "reconstructor", "fusion")
SHALLOW = {f"{part}_depth": 1 for part in ONCE} | {"hyper_depth": 2}


def shallow_config(**changes: object) -> ModelConfig:
    return small_config(**{**SHALLOW, **changes})


def skeleton(config: ModelConfig | None = None) -> Skeleton:
    return Skeleton(config or shallow_config(), tokenizer=TOKENIZER, shapes=SHAPES)


def real_model(config: ModelConfig | None = None) -> LNLN:
    config = config or shallow_config()
    encoder = build_encoder(config.encoder, tokenizer=TOKENIZER, max_length=SHAPES.text_length)
    return LNLN(config, encoder, SHAPES).train()


def real_loss(model: LNLN, size: int, lengths: Lengths = LENGTHS) -> torch.Tensor:
    """The loss of a float32 batch; one sample is shorter, or the text's mask would be dropped."""
    places = {m: getattr(lengths, m) for m in ("text", "audio", "vision")}
    every = {m: (n,) * (size - 1) + (n - 1,) for m, n in places.items()}
    batch = tree_map(
        lambda x: x.float() if x.dtype == torch.float64 else x, random_batch(lengths=every)
    )
    terms = lnln_terms(model(batch, complete=True), batch, completeness="nominal")
    return torch.stack(list(terms.values())).sum()
