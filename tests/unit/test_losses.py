"""The arithmetic that all models' loss terms share."""

import pytest
import torch
from builders import random_batch

from lnln_dist.losses import same_shape, sentiment_error, squared_error, weighted_sum, wide


def test_errors_are_elementwise_and_summed_with_weights() -> None:
    error = squared_error(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0.0, 4.0, 5.0]))
    assert error.tolist() == [1.0, 4.0, 0.0]
    assert weighted_sum(error, torch.tensor([1.0, 0.5, 9.0])).item() == 3.0


def test_the_error_of_a_head_is_that_of_its_number_or_of_its_classes() -> None:
    batch = random_batch()
    number_B = torch.tensor([1.0, -2.0, 0.5])
    assert torch.equal(sentiment_error(number_B, batch), (number_B - batch.label_B) ** 2)
    logits_BC = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [-1.0, 5.0, 2.0]])
    target = batch.target._replace(
        class_B=torch.tensor([1, 0, 2]), weight_B=torch.tensor([1.0, 2, 0.5])
    )
    error_B = sentiment_error(logits_BC, batch._replace(target=target))
    total_B = logits_BC.exp().sum(dim=1)
    expected_B = -(torch.tensor([2.0, 0.0, 2.0]).exp() / total_B).log() * target.weight_B
    torch.testing.assert_close(error_B, expected_B)
    half = sentiment_error(logits_BC.bfloat16(), batch._replace(target=target))
    assert half.dtype == torch.float32


def test_one_number_per_sample_is_not_taken_for_classes() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        sentiment_error(torch.zeros(3, 1), random_batch())


@pytest.mark.parametrize("compare", [squared_error, weighted_sum, same_shape])
def test_unequal_shapes_are_refused_instead_of_broadcast(compare) -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(3,\) and \(3, 1\)"):
        compare(torch.zeros(3), torch.zeros(3, 1))


def test_half_precision_is_summed_in_single_and_double_stays() -> None:
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    wider = [wide(torch.zeros(1, dtype=kind)).dtype for kind in kinds]
    assert wider == [torch.float32, torch.float32, torch.float32, torch.float64]
    assert squared_error(torch.ones(1).half(), torch.zeros(1)).dtype == torch.float32
