"""Counted operations against the same network with numbers, and against arithmetic."""

from dataclasses import replace

import pytest
from builders import SHAPES, TOKENIZER, random_batch
from cost_cases import LENGTHS, real_loss, real_model, shallow_config, skeleton
from networks import raw_settings, small_network
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lnln_dist import settings
from lnln_dist.cost import flops
from lnln_dist.cost.skeleton import Lengths, Skeleton

TINY = {"name": "tiny", "tiny_width": 8, "tiny_depth": 1, "tiny_heads": 2, "dropout": 0.0}
CASES = {
    "plain": {"dropout": 0.1},
    "released code": {
        "reversal": "proxy",
        "discriminator_input": "corrected",
        "mask_padding": False,
    },
    "frozen": {"freeze": "all", "detach_target": True},
}


@pytest.mark.parametrize("name", CASES)
def test_the_count_is_that_of_the_real_network_run_unfused(name: str) -> None:
    config = shallow_config(**CASES[name])
    model = real_model(config)
    # Unfused attention is plain matrix products, which the counter knows without our help.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = real_loss(model, 2)
        forward = counter.get_total_flops()
        loss.backward()
    found = flops.count(skeleton(config), LENGTHS)
    assert found.forward * 2 == forward
    assert found.total * 2 == counter.get_total_flops()


def test_recurrent_layers_by_hand() -> None:
    model = raw_settings("self_mm", encoder=TINY)
    own = Skeleton(settings.build({"model": model}), tokenizer=TOKENIZER, shapes=SHAPES)
    short, long = (flops.count(own, replace(LENGTHS, audio=places)) for places in (8, 9))
    gates, width, hidden = 4 * 5, SHAPES.audio_width, 5
    assert long.forward - short.forward == 2 * gates * (width + hidden)
    assert long.total - short.total == 3 * (long.forward - short.forward)


def test_the_encoder_by_hand() -> None:
    # Two passes over T tokens of width D with one layer: 4 projections and a 4 D wide
    # feed-forward are 12 D^2 multiply-adds a token, the two attention products 2 T D.
    t, d = LENGTHS.text, 8
    wide, narrow = (
        flops.count(skeleton(shallow_config(encoder=_encoder(depth))), LENGTHS).forward
        for depth in (2, 1)
    )
    assert wide - narrow == 2 * (2 * t * (12 * d**2 + 2 * t * d))


def _encoder(depth: int):
    kind = type(shallow_config().encoder)
    return kind(name="tiny", tiny_width=8, tiny_depth=depth, tiny_heads=2, dropout=0.0)


def test_recomputed_activations_do_not_count() -> None:
    again = replace(_encoder(2), checkpoint_activations=True)
    one, other = (
        flops.count(skeleton(shallow_config(encoder=encoder)), LENGTHS)
        for encoder in (again, replace(again, checkpoint_activations=False))
    )
    assert one == other


def test_the_curve_is_exact_at_lengths_it_was_not_fitted_to() -> None:
    made = skeleton()
    curve = flops.curve(made)
    for lengths in (LENGTHS, Lengths(text=12, audio=1, vision=16), Lengths.longest(made.shapes)):
        assert curve.per_sample(lengths) == flops.count(made, lengths).total


@pytest.mark.parametrize("name", ["mult", "prmf"])  # their modalities read one another
def test_every_models_curve_is_the_real_networks_count(name: str) -> None:
    """At other lengths than those of the fit; MulT's modalities read one another."""
    model = small_network(name).float().train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        real_loss(model, 2).backward()
    config = settings.build({"model": {**raw_settings(name), "encoder": TINY}})
    made = Skeleton(config, tokenizer=TOKENIZER, shapes=SHAPES)
    assert flops.curve(made).per_sample(LENGTHS) * 2 == counter.get_total_flops()


def test_the_fit_recovers_any_quadratic() -> None:
    def counted(lengths: Lengths) -> float:
        return 5 + 3 * lengths.text + 7 * lengths.audio**2 + 2 * lengths.vision - lengths.vision**2

    curve = flops.interpolate(counted)
    assert (curve.constant, curve.slopes, curve.curvatures) == (5, (3, 0, 2), (0, 7, -1))
    assert curve.mixed == (0, 0, 0)


def test_the_fit_recovers_products_of_two_lengths() -> None:
    def counted(lengths: Lengths) -> float:
        text, audio, vision = lengths.text, lengths.audio, lengths.vision
        return 5 + 3 * text + 7 * audio**2 + 4 * text * audio - 6 * audio * vision

    curve = flops.interpolate(counted)
    assert (curve.constant, curve.slopes, curve.curvatures) == (5, (3, 0, 0), (0, 7, 0))
    assert curve.mixed == (4, 0, -6)
    assert curve.per_sample(Lengths(text=3, audio=5, vision=9)) == 5 + 9 + 175 + 60 - 270


def test_a_batch_costs_its_size_times_its_padded_lengths() -> None:
    lengths = {"text": (5, 9, 2), "audio": (17, 3, 4), "vision": (11, 11, 1)}
    made = flops.of_batches(skeleton())(random_batch(lengths=lengths))
    assert made == pytest.approx(3 * flops.count(skeleton(), LENGTHS).total)
