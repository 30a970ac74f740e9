"""The arithmetic that all models' loss terms share."""

import pytest
import torch

from lnln_dist.losses import same_shape, squared_error, weighted_sum, wide


def test_errors_are_elementwise_and_summed_with_weights() -> None:
    error = squared_error(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0.0, 4.0, 5.0]))
    assert error.tolist() == [1.0, 4.0, 0.0]
    assert weighted_sum(error, torch.tensor([1.0, 0.5, 9.0])).item() == 3.0


@pytest.mark.parametrize("compare", [squared_error, weighted_sum, same_shape])
def test_unequal_shapes_are_refused_instead_of_broadcast(compare) -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(3,\) and \(3, 1\)"):
        compare(torch.zeros(3), torch.zeros(3, 1))


def test_half_precision_is_summed_in_single_and_double_stays() -> None:
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    wider = [wide(torch.zeros(1, dtype=kind)).dtype for kind in kinds]
    assert wider == [torch.float32, torch.float32, torch.float32, torch.float64]
    assert squared_error(torch.ones(1).half(), torch.zeros(1)).dtype == torch.float32
