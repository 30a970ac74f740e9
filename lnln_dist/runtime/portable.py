"""Gathers a training's state from its shards and scatters it again, whatever the strategy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lnln_dist.runtime.peers import Peers
from lnln_dist.runtime.state import FullState, Template, persistent_buffers, to_host
from lnln_dist.runtime.strategy import SLOTS, Strategy, trained


class Portable:
    """Whole tensors of a model that may be sharded, one parameter at a time.

    Args:
        peers: this process among the others.
        strategy: how the model is spread over them.
    """

    def __init__(self, peers: Peers, strategy: Strategy) -> None:
        self._peers = peers
        self._strategy = strategy
        self._template: Template | None = None

    def share(self, model: nn.Module) -> None:
        """Gives every rank rank 0's weights, before the model is wrapped (collective)."""
        for value in (*model.parameters(), *persistent_buffers(model).values()):
            held = value.data
            held.copy_(self._peers.from_main(held, held.shape, held.dtype))
        if not self._strategy.whole:
            self._template = Template(model)

    def put_slots(self, bare: nn.Module, optimizer: Optimizer, slots: Mapping[str, Tensor]) -> None:
        """Scatters rank 0's optimizer slots, after the model was wrapped (collective)."""
        shapes = self._peers.broadcast_object({key: value.shape for key, value in slots.items()})
        for name, parameter in trained(bare).items():
            keys = {slot: f"{slot}.{name}" for slot in SLOTS if f"{slot}.{name}" in shapes}
            held = {
                slot: self._peers.from_main(slots.get(key), shapes[key], torch.float32)
                for slot, key in keys.items()
            }
            if held:
                self._strategy.put_slots(optimizer, parameter, held)

    def gather(self, bare: nn.Module, optimizer: Optimizer) -> FullState:
        """The whole state in rank 0's host memory (collective); empty on the other ranks."""
        found, main = FullState(), self._peers.is_main
        for name, weight in self._whole_weights(bare):
            if main:
                found.weights[name] = to_host(weight)
        for name, parameter in trained(bare).items():
            for slot, value in self._strategy.slots(optimizer, parameter).items():
                if main:
                    found.slots[f"{slot}.{name}"] = to_host(value)
        if main:
            kept = persistent_buffers(bare)
            found.weights.update((name, to_host(value)) for name, value in kept.items())
        return found

    def _whole_weights(self, bare: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Every parameter of the bare model (collective)."""
        for name, parameter in bare.named_parameters():
            if self._template is not None and name in self._template.frozen:
                yield name, self._template.frozen[name]
            else:
                yield name, self._strategy.weight(parameter)

    @contextmanager
    def evaluation(self, bare: nn.Module) -> Iterator[nn.Module]:
        """As ``Runtime.evaluation``."""
        if self._template is None:
            yield bare
            return
        device = self._peers.device
        weights = {name: value.to(device) for name, value in self._whole_weights(bare)}
        with self._template.filled(weights, dict(bare.named_buffers())) as full:
            yield full
