"""A lack of memory is one line with remedies; other errors pass."""

from types import SimpleNamespace as Namespace

import pytest
import torch

from lnln_dist.errors import TrainingError
from lnln_dist.train.exhausted import explain_out_of_memory

REMEDIES = (
    "train.auto_micro_batch",
    "train.micro_batch",
    "model.encoder.checkpoint_activations",
    "train.precision bf16",
)


def failing(err: Exception) -> None:
    with explain_out_of_memory(Namespace(rank=3)):
        raise err


@pytest.mark.parametrize(
    "err",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_the_rank_and_the_remedies_are_named_in_one_line(err: Exception) -> None:
    with pytest.raises(TrainingError, match=r"^rank 3 on .* is out of memory: set ") as caught:
        failing(err)
    said = str(caught.value)
    assert all(remedy in said for remedy in REMEDIES)
    assert "\n" not in said


def test_a_host_that_refuses_is_told_the_same() -> None:
    with (
        pytest.raises(TrainingError, match="out of memory"),
        explain_out_of_memory(Namespace(rank=0)),
    ):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("err", [RuntimeError("size mismatch"), ValueError("out of memory")])
def test_other_errors_pass(err: Exception) -> None:
    with pytest.raises(type(err), match=str(err)):
        failing(err)
