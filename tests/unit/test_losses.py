"""Loss terms against sums written out by hand."""

import dataclasses
import math

import pytest
import torch
from builders import random_batch, take

from lnln_dist.config import LossConfig
from lnln_dist.losses import lnln_terms, weighted_total
from lnln_dist.types import Batch, Outputs


def random_outputs(size: int = 3) -> Outputs:
    torch.manual_seed(1)
    logits, features = torch.randn(2, size, 8, 2), torch.randn(2, size, 24, 16)
    return Outputs(torch.randn(size), torch.rand(size), *logits, *features)


def one_by_one(outputs: Outputs, batch: Batch) -> dict[str, float]:
    """The definition of spec section 4 in plain loops, summed over samples."""
    total = dict.fromkeys(("completeness", "adversarial", "reconstruction", "sentiment"), 0.0)
    for b in range(len(batch.label_B)):
        weight = batch.weight_B[b].item()
        error = outputs.sentiment_B[b].item() - batch.label_B[b].item()
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
        {"sentiment_B": torch.zeros(3, 1)},
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
    names = [field.name for field in dataclasses.fields(LossConfig)]
    terms = {name: torch.tensor(10.0**i) for i, name in enumerate(reversed(names))}
    weights = LossConfig(completeness=2.0, adversarial=3.0, reconstruction=5.0, sentiment=7.0)
    expected = sum(getattr(weights, name) * terms[name].item() for name in names)
    assert weighted_total(terms, weights).item() == expected
