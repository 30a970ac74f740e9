"""The network beyond the reference fixtures: padding, switches, gradients, sizes."""

import dataclasses
import math

import pytest
import torch
from builders import (
    LENGTHS,
    OFFICIAL,
    SHAPES,
    random_batch,
    small_config,
    small_model,
    take,
    weighted_total,
)
from transformers import BertConfig, BertModel

from lnln_dist.errors import DataError
from lnln_dist.models import InputShapes, lnln
from lnln_dist.models.lnln import LNLN, Outputs, lnln_terms
from lnln_dist.models.text import TextEncoder
from lnln_dist.specs.lnln import LNLNConfig, LNLNLoss
from lnln_dist.types import Batch


def run(model: LNLN, batch: Batch) -> Outputs:
    with torch.no_grad():
        return model.eval()(batch, complete=True)


def gradients(model: LNLN, batch: Batch, **weights: float) -> dict[str, torch.Tensor | None]:
    zero = dict.fromkeys(("completeness", "adversarial", "reconstruction", "sentiment"), 0.0)
    model.zero_grad()
    terms = lnln_terms(model(batch, complete=True), batch, completeness="nominal")
    weighted_total(terms, LNLNLoss(**(zero | weights))).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_scoring_gives_the_same_as_training_mode_without_the_training_outputs() -> None:
    model, batch = small_model(), random_batch()
    scored, full = model.eval()(batch, complete=False), run(model, batch)
    assert scored[2:] == (None, None, None, None)
    assert torch.equal(scored.sentiment, full.sentiment)
    shapes = [(3,), (3,), (3, 2, 2), (3, 2, 2), (3, 6, 16), (3, 6, 16)]
    assert [tuple(x.shape) for x in full] == shapes
    assert ((full.completeness_B > 0) & (full.completeness_B < 1)).all()


@pytest.mark.parametrize("changes", [{}, OFFICIAL], ids=["paper", "official"])
def test_a_sample_alone_gets_what_it_gets_in_a_batch(changes: dict) -> None:
    model, batch = small_model(**changes), random_batch()
    together = run(model, batch)
    for row in range(3):
        alone = run(model, take(batch, [row]))
        for one, all_of_them in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_of_them[row], rtol=0, atol=1e-12)


def test_masked_padding_does_not_matter_and_attended_padding_does() -> None:
    short = {"text": (5, 7), "audio": (3, 9), "vision": (6, 4)}
    tight, loose = random_batch(lengths=short), random_batch(lengths=short, extra=4)
    masked, attending = small_model(), small_model(mask_padding=False)
    for one, other in zip(run(masked, tight), run(masked, loose), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    difference = run(attending, tight).sentiment - run(attending, loose).sentiment
    assert difference.abs().min() > 1e-6


def test_values_on_padding_do_not_leak_when_masked() -> None:
    model, batch = small_model(), random_batch()
    dirty = batch.audio.frames_BTD + 100 * ~batch.audio.valid_BT[..., None]
    ids = batch.text.ids_BT + 7 * ~batch.text.valid_BT
    other = batch._replace(
        audio=batch.audio._replace(frames_BTD=dirty), text=batch.text._replace(ids_BT=ids)
    )
    assert not torch.equal(dirty, batch.audio.frames_BTD)
    for one, two in zip(run(model, batch), run(model, other), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_a_sequence_without_a_valid_place_is_no_trouble() -> None:
    batch = random_batch()
    nothing = torch.zeros_like(batch.vision.valid_BT)
    batch = batch._replace(vision=batch.vision._replace(valid_BT=nothing, keep_BT=nothing))
    assert all(torch.isfinite(x).all() for x in run(small_model(), batch))


def test_segments_matter() -> None:
    model, batch = small_model(), random_batch()
    flipped = batch._replace(
        text=batch.text._replace(segments_BT=(1 - batch.text.segments_BT) * batch.text.valid_BT)
    )
    assert not torch.allclose(run(model, batch).sentiment, run(model, flipped).sentiment)


def test_prediction_reads_the_damaged_input_and_the_target_the_complete_one() -> None:
    model, batch = small_model(), random_batch()
    before = run(model, batch)
    more = batch._replace(
        text=batch.text._replace(noisy_ids_BT=batch.text.ids_BT),
        audio=batch.audio._replace(keep_BT=batch.audio.valid_BT),
        vision=batch.vision._replace(keep_BT=batch.vision.valid_BT),
    )
    after = run(model, more)
    assert not torch.allclose(before.sentiment, after.sentiment)
    assert torch.equal(before.target_BND, after.target_BND)
    assert torch.equal(before.language_logits_BN2, after.language_logits_BN2)
    undamaged = model._features(more, damaged=True)
    order = torch.cat([undamaged[m] for m in ("audio", "vision", "text")], dim=1)
    assert torch.equal(order, after.target_BND)


def test_counted_correction_mixes_by_the_kept_share_and_still_reports_the_check() -> None:
    batch = random_batch()
    counted, predicted = small_model(correction="counted"), small_model()
    everything = batch._replace(text=batch.text._replace(keep_BT=batch.text.valid_BT))
    assert torch.equal(run(counted, batch).completeness_B, run(predicted, batch).completeness_B)
    assert not torch.allclose(run(counted, batch).sentiment, run(predicted, batch).sentiment)
    # With all tokens kept the proxy has no part in the prediction.
    before = run(counted, everything).sentiment
    with torch.no_grad():
        counted.proxy.start.add_(1.0)
    assert torch.equal(run(counted, everything).sentiment, before)
    assert not torch.allclose(run(counted, batch).sentiment, before)


def test_without_correction_the_text_is_taken_as_it_is() -> None:
    plain, batch = small_model(correction="none"), random_batch()
    whole = batch._replace(text=batch.text._replace(keep_BT=batch.text.valid_BT))
    before = run(plain, batch)
    assert torch.equal(before.completeness_B, run(small_model(), batch).completeness_B)
    assert torch.equal(before.sentiment, run(small_model(correction="counted"), whole).sentiment)
    with torch.no_grad():
        plain.proxy.start.add_(1.0)
    assert torch.equal(run(plain, batch).sentiment, before.sentiment)


def turned_and_straight(
    patch: pytest.MonkeyPatch, term: str, **changes: object
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Gradients of one loss term, with the reversal and without."""
    turned = gradients(small_model(**changes), random_batch(), **{term: 1.0})
    with patch.context() as inner:
        inner.setattr(lnln, "reverse_gradient", lambda x: x)
        straight = gradients(small_model(**changes), random_batch(), **{term: 1.0})
    return turned, straight


def test_the_paper_reverses_the_adversarial_gradient_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for term, sign in (("adversarial", -1), ("sentiment", 1)):
        turned, straight = turned_and_straight(monkeypatch, term)
        start = "proxy.start"
        torch.testing.assert_close(turned[start], sign * straight[start], rtol=1e-9, atol=1e-15)
        assert straight[start].norm() > 1e-9
        # The discriminator itself always learns to tell the sides apart.
        if term == "adversarial":
            name = "discriminator.0.bias"
            torch.testing.assert_close(turned[name], straight[name])


def test_the_released_code_reverses_every_gradient_into_the_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for term in ("adversarial", "sentiment"):
        turned, straight = turned_and_straight(monkeypatch, term, **OFFICIAL)
        start = "proxy.start"
        torch.testing.assert_close(turned[start], -straight[start], rtol=1e-9, atol=1e-15)
        assert straight[start].norm() > 1e-9


def test_a_reversed_corrected_feature_reverses_the_check_s_adversarial_gradient_too() -> None:
    batch = random_batch()
    mixed = small_model(discriminator_input="corrected", reversal="discriminator")
    official = small_model(discriminator_input="corrected", reversal="proxy")
    ours, theirs = (gradients(m, batch, adversarial=1.0) for m in (mixed, official))
    name = "completeness.head.0.weight"
    torch.testing.assert_close(ours[name], -theirs[name], rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(ours["proxy.start"], theirs["proxy.start"])


def test_the_language_side_is_trained_by_the_discriminator() -> None:
    batch = random_batch()
    model = small_model(discriminator_input="proxy")
    assert gradients(model, batch, adversarial=1.0)["embed.text.project.weight"].norm() > 1e-9


@pytest.mark.parametrize("detach", [False, True])
def test_a_detached_target_gets_no_gradient(detach: bool) -> None:
    model = small_model(detach_target=detach)
    outputs = model(random_batch(), complete=True)
    assert outputs.target_BND.requires_grad is not detach
    assert outputs.reconstructed_BND.requires_grad


def test_a_detached_completeness_learns_from_its_label_alone() -> None:
    batch, own = random_batch(), "completeness.head.0.weight"
    plain, detached = small_model(), small_model(detach_completeness=True)
    for one, other in zip(run(plain, batch), run(detached, batch), strict=True):
        assert torch.equal(one, other)
    for term in ("sentiment", "adversarial", "reconstruction"):
        assert gradients(detached, batch, **{term: 1.0})[own].norm() == 0
    assert gradients(plain, batch, sentiment=1.0)[own].norm() > 1e-9
    of_label = [gradients(m, batch, completeness=1.0)[own] for m in (plain, detached)]
    assert torch.equal(*of_label)
    for other in ("counted", "none"):
        with pytest.raises(ValueError, match=f"no effect with correction {other}"):
            small_config(detach_completeness=True, correction=other)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        OFFICIAL,
        {"correction": "counted"},
        {"correction": "none"},
        {"detach_completeness": True},
    ],
)
def test_every_parameter_gets_a_gradient(changes: dict) -> None:
    weights = {"completeness": 0.9, "adversarial": 0.8, "reconstruction": 0.1, "sentiment": 1.0}
    found = gradients(small_model(**changes).train(), random_batch(), **weights)
    assert [name for name, grad in found.items() if grad is None] == []
    # Exactly zero by symmetry only: softmax ignores what all keys share.
    zero = [name for name, grad in found.items() if grad.norm() < 1e-12]
    assert all(
        name.endswith(("norm_key.bias", "norms.audio.bias", "self.key.bias")) for name in zero
    )


@pytest.mark.parametrize("freeze", ["embeddings", "all"])
def test_frozen_parts_get_no_gradient(freeze: str) -> None:
    found = gradients(small_model(freeze=freeze).train(), random_batch(), sentiment=1.0)
    part = "text_encoder.model.embeddings." if freeze == "embeddings" else "text_encoder."
    frozen = {name for name, grad in found.items() if grad is None}
    outside = {"discriminator", "reconstructors"}
    assert frozen == {name for name in found if name.startswith(part)}
    assert frozen and not any(name.split(".")[0] in outside for name in frozen)


@pytest.mark.parametrize("modality", ["text", "audio", "vision"])
def test_a_sequence_longer_than_its_table_is_named(modality: str) -> None:
    batch = random_batch(lengths=LENGTHS | {modality: (SHAPES.length(modality) + 1, 2, 2)})
    with pytest.raises(DataError, match=rf"{modality} sequence of \d+ places is longer"):
        small_model()(batch, complete=False)


def test_depths_and_widths_take_effect() -> None:
    config = small_config(
        embedding_depth=1, completeness_depth=3, proxy_depth=4, reconstructor_depth=1,
        hyper_depth=5, fusion_depth=3, width=24, heads=4, tokens=3,
    )  # fmt: skip
    encoder = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_attention_heads=2))
    model = LNLN(config, TextEncoder(encoder), SHAPES)
    assert len(model.embed["audio"].transformer.blocks) == 1
    assert len(model.completeness.transformer.blocks) == 3
    assert len(model.proxy.transformer.blocks) == 4
    assert len(model.reconstructors["text"].blocks) == 1
    assert len(model.hyper.layers) == 5 and len(model.dominant.blocks) == 4
    assert len(model.fusion.blocks) == 3
    assert model.embed["vision"].transformer.positions.shape == (1, 3 + 16, 24)
    assert model.proxy.transformer.positions.shape == (1, 3 + 9, 24)
    assert model.embed["text"].project.in_features == 8


def test_it_starts_from_the_documented_values() -> None:
    torch.manual_seed(0)
    encoder = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_attention_heads=2))
    model = LNLN(small_config(), TextEncoder(encoder), SHAPES)
    assert (model.proxy.start == 1).all() and (model.hyper.start == 1).all()
    assert (model.fusion.extra_token == 0).all()
    assert (model.embed["text"].transformer.extra_tokens == 0).all()
    assert 0.8 < model.embed["audio"].transformer.positions.std() < 1.2


@pytest.mark.parametrize(
    ("vocabulary", "shapes", "fusion_depth", "millions"),
    [
        (30522, (5, 20, 50, 375, 500), 2, 115.97),
        (30522, (74, 35, 50, 500, 500), 4, 116.58),
        (21128, (33, 709, 39, 400, 55), 4, 109.38),
    ],
    ids=["mosi", "mosei", "sims"],
)
def test_full_size_parameter_counts(
    vocabulary: int, shapes: tuple[int, ...], fusion_depth: int, millions: float
) -> None:
    names = ("audio_width", "vision_width", "text_length", "audio_length", "vision_length")
    with torch.device("meta"):
        bert = BertModel(BertConfig(vocab_size=vocabulary), add_pooling_layer=False)
        config = LNLNConfig(fusion_depth=fusion_depth)
        model = LNLN(
            config, TextEncoder(bert), InputShapes(**dict(zip(names, shapes, strict=True)))
        )
    pooler = 768 * 768 + 768  # published counts include BERT's unused one
    count = sum(parameter.numel() for parameter in model.parameters()) + pooler
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize("changes", [{}, OFFICIAL], ids=["paper", "official"])
def test_half_precision_training_stays_near_single(changes: dict) -> None:
    model, batch = small_model(**changes).float(), random_batch()
    batch = batch._replace(
        audio=batch.audio._replace(frames_BTD=batch.audio.frames_BTD.float()),
        vision=batch.vision._replace(frames_BTD=batch.vision.frames_BTD.float()),
    )
    exact = lnln_terms(model(batch, complete=True), batch, completeness="nominal")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(batch, complete=True)
    terms = lnln_terms(outputs, batch, completeness="nominal")
    weighted_total(terms, LNLNLoss()).backward()
    for name, value in terms.items():
        torch.testing.assert_close(value, exact[name], rtol=0.1, atol=0.1)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def random_outputs(size: int = 3) -> Outputs:
    torch.manual_seed(1)
    logits, features = torch.randn(2, size, 8, 2), torch.randn(2, size, 24, 16)
    return Outputs(torch.randn(size), torch.rand(size), *logits, *features)


def one_by_one(outputs: Outputs, batch: Batch) -> dict[str, float]:
    """The definition of spec section 4 in plain loops, summed over samples."""
    total = dict.fromkeys(("completeness", "adversarial", "reconstruction", "sentiment"), 0.0)
    for b in range(len(batch.label_B)):
        weight = batch.weight_B[b].item()
        error = outputs.sentiment[b].item() - batch.label_B[b].item()
        total["sentiment"] += weight * error**2
        check = outputs.completeness_B[b].item() - (1 - batch.text.rate_B[b].item())
        total["completeness"] += weight * check**2
        entries = (outputs.reconstructed_BND[b] - outputs.target_BND[b]).flatten().tolist()
        total["reconstruction"] += weight * sum(e**2 for e in entries) / len(entries)
        tokens = [(row, 1) for row in outputs.generated_logits_BN2[b].tolist()]
        tokens += [(row, 0) for row in outputs.language_logits_BN2[b].tolist()]
        entropy = [math.log(sum(map(math.exp, row))) - row[label] for row, label in tokens]
        total["adversarial"] += weight * sum(entropy) / len(entropy)
    return total


def test_terms_are_weighted_sums_over_samples() -> None:
    outputs, batch = random_outputs(), random_batch()
    batch = batch._replace(weight_B=torch.tensor([1.0, 0.0, 1.0]))
    terms = lnln_terms(outputs, batch, completeness="nominal")
    expected = one_by_one(outputs, batch)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-5)


def test_cutting_a_batch_does_not_change_the_sum() -> None:
    outputs, batch = random_outputs(), random_batch()
    whole = lnln_terms(outputs, batch, completeness="nominal")
    parts = [
        lnln_terms(Outputs(*(x[rows] for x in outputs)), take(batch, rows), completeness="nominal")
        for rows in ([0], [1, 2])
    ]
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[0][name] + parts[1][name])


def test_the_counted_label_is_the_share_of_kept_tokens() -> None:
    outputs, batch = random_outputs(), random_batch()
    text = batch.text
    share = torch.tensor([text.keep_BT[b].sum() / text.valid_BT[b].sum() for b in range(3)])
    terms = lnln_terms(outputs, batch, completeness="counted")
    expected = ((outputs.completeness_B - share) ** 2).sum()
    torch.testing.assert_close(terms["completeness"], expected)
    assert (
        terms["completeness"] != lnln_terms(outputs, batch, completeness="nominal")["completeness"]
    )


def test_scoring_outputs_have_two_terms() -> None:
    outputs, batch = random_outputs(), random_batch()
    terms = lnln_terms(Outputs(*outputs[:2]), batch, completeness="nominal")
    assert terms.keys() == {"completeness", "sentiment"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sentiment": torch.zeros(3, 1)},
        {"completeness_B": torch.zeros(1)},
        {"target_BND": torch.zeros(3, 24, 1)},
        {"language_logits_BN2": torch.zeros(3, 1, 2)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_unequal_shapes_are_refused_instead_of_broadcast(wrong: dict) -> None:
    outputs = random_outputs()._replace(**wrong)
    with pytest.raises(ValueError, match="shapes differ"):
        lnln_terms(outputs, random_batch(), completeness="nominal")


def test_half_precision_outputs_are_summed_in_single() -> None:
    outputs = Outputs(*(x.bfloat16() for x in random_outputs()))
    terms = lnln_terms(outputs, random_batch(), completeness="nominal")
    assert {value.dtype for value in terms.values()} == {torch.float32}


def test_large_logits_stay_finite() -> None:
    outputs = random_outputs()
    outputs = outputs._replace(generated_logits_BN2=1e4 * outputs.generated_logits_BN2)
    assert torch.isfinite(
        lnln_terms(outputs, random_batch(), completeness="nominal")["adversarial"]
    )


def test_the_total_takes_each_weight_by_name() -> None:
    names = [field.name for field in dataclasses.fields(LNLNLoss)]
    terms = {name: torch.tensor(10.0**i) for i, name in enumerate(reversed(names))}
    weights = LNLNLoss(completeness=2.0, adversarial=3.0, reconstruction=5.0, sentiment=7.0)
    expected = sum(getattr(weights, name) * terms[name].item() for name in names)
    assert weighted_total(terms, weights).item() == expected
