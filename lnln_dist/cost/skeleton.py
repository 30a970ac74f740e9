"""The real network without memory or numbers: what is counted here is what will be run.

Tensors are fake (``torch._subclasses.fake_tensor``): they have shapes, types and storages of a
size, but no content. Forward and backward pass take about a second for BERT-base on any machine.
"""

import contextlib
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from lnln_dist.config import Config
from lnln_dist.models import InputShapes, build_network
from lnln_dist.models.text import build_encoder
from lnln_dist.types import Network, blank_batch
from lnln_dist.vocabulary import TokenizerInfo

SWITCH = "gradient_checkpointing"  # attribute of transformers' layers


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Places of a batch's padded sequences."""

    text: int
    audio: int
    vision: int

    @classmethod
    def longest(cls, shapes: InputShapes) -> "Lengths":
        """What the position tables hold: no batch is longer."""
        return cls(text=shapes.text_length, audio=shapes.audio_length, vision=shapes.vision_length)


class _NoAttentionDropout(TorchFunctionMode):
    """Attention as GPUs run it: fused, so that no matrix of probabilities is kept.

    With dropout a CPU falls back to the unfused form, which the GPU kernels do not need.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            kwargs["dropout_p"] = 0.0
        return func(*args, **kwargs)


def is_layer(module: nn.Module) -> bool:
    """Whether a module is one of the text encoder's layers."""
    return any(kind.__name__ == "GradientCheckpointingLayer" for kind in type(module).__mro__)


class Skeleton:
    """A network of fake tensors in training mode.

    Args:
        config: of the run; its model and loss weights count.
        tokenizer: of the prepared data.
        shapes: frame widths and position tables.

    Raises:
        ConfigError, DataError: as ``models.text.build_encoder``; no weights are needed.
    """

    def __init__(self, config: Config, *, tokenizer: TokenizerInfo, shapes: InputShapes) -> None:
        self.shapes = shapes
        self.kept: dict[Hashable, int] = {}  # what was counted already
        self._mode = FakeTensorMode()
        with self._mode:
            encoder = build_encoder(
                config.model.encoder,
                tokenizer=tokenizer,
                max_length=shapes.text_length,
                pretrained=False,
            )
            self.model = build_network(config, encoder, shapes).train()

    @contextlib.contextmanager
    def pretending(self) -> Iterator[None]:
        """Tensors made inside are fake and belong to this network."""
        with self._mode:
            yield

    @property
    def recomputed(self) -> list[str]:
        """The encoder layers that compute their activations again in the backward pass."""
        modules = self.model.named_modules()
        return [name for name, m in modules if is_layer(m) and getattr(m, SWITCH, False)]

    @contextlib.contextmanager
    def keeping_all(self) -> Iterator[None]:
        """Nothing is computed again meanwhile."""
        layers = [self.model.get_submodule(name) for name in self.recomputed]
        try:
            for layer in layers:
                setattr(layer, SWITCH, False)
            yield
        finally:
            for layer in layers:
                setattr(layer, SWITCH, True)

    def uses(self, names: Collection[str], lengths: Lengths) -> list[str]:
        """Which of some modules one training forward pass calls, once per call."""
        called: list[str] = []
        handles = [
            self.model.get_submodule(name).register_forward_pre_hook(
                lambda *_, name=name: called.append(name)
            )
            for name in names
        ]
        with self.pretending(), torch.no_grad():
            self.loss(1, lengths)
        for handle in handles:
            handle.remove()
        return called

    def loss(self, size: int, lengths: Lengths) -> Tensor:
        """The loss of one micro-batch of ``size`` samples; call while pretending."""
        widths = {"audio": self.shapes.audio_width, "vision": self.shapes.vision_width}
        batch = blank_batch(size, lengths=asdict(lengths), widths=widths)
        with _NoAttentionDropout():
            return cast(Network, self.model).losses(batch).total()
