"""Estimated memory against what torch really holds."""

from dataclasses import replace

import pytest
import torch
from cost_cases import LENGTHS, real_loss, real_model, shallow_config, skeleton

from lnln_dist.cost.memory import (
    STRATEGIES,
    Activations,
    Parameters,
    activations,
    footprint,
    sizes_of,
)

COUNTED = Parameters(trained=1000, frozen=200, largest_unit=300)
NOTHING = Activations(0)


def encoder(**changes: object):
    kind = type(shallow_config().encoder)
    sizes = {"name": "tiny", "tiny_width": 8, "tiny_depth": 3, "tiny_heads": 2, "dropout": 0.0}
    return kind(**{**sizes, **changes})


def really_kept(config, size: int) -> int:
    model = real_model(config)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen = {}

    def note(x: torch.Tensor) -> torch.Tensor:
        seen[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        loss = real_loss(model, size)
    assert loss.requires_grad
    return sum(s.nbytes() for address, s in seen.items() if address not in own)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("freeze", ["none", "all"])
def test_activations_are_those_autograd_keeps(size: int, freeze: str) -> None:
    config = shallow_config(encoder=encoder(freeze=freeze))
    found = activations(skeleton(config), size=size, lengths=LENGTHS, precision="fp32")
    # Ids and masks that a real batch keeps apart may be one tensor here: some bytes a place.
    assert found.samples == pytest.approx(really_kept(config, size), rel=0.01)
    assert found.weights == 0


def test_checkpointing_keeps_less_and_one_layer_comes_back() -> None:
    whole, saving = (
        activations(
            skeleton(shallow_config(encoder=encoder(checkpoint_activations=on))),
            size=4,
            lengths=LENGTHS,
            precision="fp32",
        ).samples
        for on in (False, True)
    )
    kept = really_kept(shallow_config(encoder=encoder(checkpoint_activations=True)), 4)
    assert kept < saving < whole
    # Two passes of three layers: a sixth of what was saved is there at any time.
    assert saving - kept == pytest.approx((whole - kept) / 6, rel=0.1)


def test_half_precision_halves_samples_and_adds_copies_of_weights() -> None:
    made = skeleton()

    def kept(precision: str, size: int) -> Activations:
        return activations(made, size=size, lengths=LENGTHS, precision=precision)

    half = kept("bf16", 64)
    assert 0.5 < half.samples / kept("fp32", 64).samples < 0.8
    assert kept("fp16", 64) == half
    assert half.samples == pytest.approx(2 * kept("bf16", 32).samples)
    # Every matrix is cast once, whatever the batch; tables and vectors are not.
    matrices = [m.weight for m in made.model.modules() if isinstance(m, torch.nn.Linear)]
    assert half.weights == kept("bf16", 32).weights
    assert half.weights == pytest.approx(2 * sum(w.numel() for w in matrices), rel=0.1)


def test_ddp_on_one_process_is_what_adamw_holds() -> None:
    model = real_model(shallow_config(freeze="embeddings"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    real_loss(model, 2).backward()
    optimizer.step()
    counted = sizes_of(skeleton(shallow_config(freeze="embeddings")).model)
    found = footprint(counted, "ddp", world=1, precision="fp32", kept=NOTHING)
    moments = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    assert found.parameters == sum(p.nbytes for p in model.parameters())
    assert found.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    assert found.optimizer == sum(v.nbytes for v in moments)
    assert (found.buffers, found.host) == (0, 0)


def test_parameters_by_hand() -> None:
    config = shallow_config(encoder=encoder())
    model, counted = real_model(config), sizes_of(skeleton(config).model)
    total = sum(p.numel() for p in model.parameters())
    assert (counted.trained, counted.frozen) == (total, 0)
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    layers = [sum(p.numel() for p in layer.parameters()) for item in lists for layer in item]
    assert counted.largest_unit == max(*layers, total - sum(layers))


def test_frozen_parameters_are_counted_apart_in_real_networks_too() -> None:
    model = real_model(shallow_config(encoder=encoder(freeze="all")))
    counted = sizes_of(model)
    assert counted.frozen == sum(p.numel() for p in model.text_encoder.parameters())
    assert counted.trained + counted.frozen == sum(p.numel() for p in model.parameters())


def test_strategies_by_hand() -> None:
    def device(strategy: str, **changes: object) -> tuple[int, int, int, int]:
        given = {"world": 4, "precision": "bf16", "kept": Activations(7, 5), **changes}
        found = footprint(COUNTED, strategy, **given)
        parts = (found.parameters, found.gradients, found.optimizer)
        assert found.device == sum(parts) + found.buffers + found.activations
        return *parts, found.activations

    # Autocast copies float32 weights; what ZeRO and FSDP2 compute with is half already.
    assert device("ddp") == (4 * 1200, 4 * 1000, 8 * 1000, 12)
    assert device("zero1") == (2 * 1200, 2 * 1000, 12 * 250, 7)
    assert device("zero2") == (2 * 1200, 4 * 250, 12 * 250, 7)
    assert device("zero3") == (2 * 300, 4 * 250, 12 * 250, 7)
    assert device("fsdp2") == (4 * 300, 4 * 250, 8 * 250, 7)
    assert device("zero2", precision="fp32") == (4 * 1200, 4 * 250, 12 * 250, 7)


def test_offloading_moves_the_optimizer_to_the_host() -> None:
    given = {"world": 2, "precision": "bf16", "kept": NOTHING}
    here = footprint(COUNTED, "zero2", **given)
    there = footprint(COUNTED, "zero2", offload=True, **given)
    assert there.host == here.optimizer > 0
    assert (there.optimizer, here.host) == (0, 0)
    assert there.device == here.device - here.optimizer


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_processes_never_need_more(strategy: str) -> None:
    counted = replace(COUNTED, trained=10**8, frozen=0, largest_unit=10**7)
    used = [
        footprint(counted, strategy, world=world, precision="bf16", kept=NOTHING).device
        for world in (2, 4, 8, 64)
    ]
    assert used == sorted(used, reverse=True)
    assert (len(set(used)) == 1) == (strategy == "ddp")
