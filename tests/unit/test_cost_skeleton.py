"""The network of fake tensors is the real one."""

import torch
from cost_cases import LENGTHS, real_model, shallow_config, skeleton

from lnln_dist.cost.skeleton import Lengths


def test_it_has_the_parameters_of_the_real_network() -> None:
    fake = {n: tuple(p.shape) for n, p in skeleton().model.named_parameters()}
    assert fake == {n: tuple(p.shape) for n, p in real_model().named_parameters()}


def test_it_holds_no_numbers_and_leaves_the_world_real() -> None:
    made = skeleton()
    with made.pretending():
        loss = made.loss(3, LENGTHS)
        loss.backward()
    assert type(loss).__name__ == "FakeTensor"
    assert all(p.grad is not None for p in made.model.parameters())
    assert torch.ones(2).sum().item() == 2


def test_layers_that_compute_again_can_be_told_not_to() -> None:
    config = shallow_config()
    encoder = type(config.encoder)(
        name="tiny", tiny_width=8, tiny_depth=3, tiny_heads=2, checkpoint_activations=True
    )
    made = skeleton(shallow_config(encoder=encoder))
    assert len(made.recomputed) == 3
    with made.keeping_all():
        assert not made.recomputed
    assert len(made.recomputed) == 3
    assert not skeleton().recomputed


def test_the_longest_batch_fills_the_tables() -> None:
    made = skeleton()
    assert Lengths.longest(made.shapes) == Lengths(text=12, audio=20, vision=16)
