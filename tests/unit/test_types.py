"""What batches compute about themselves."""

import torch

from lnln_dist.types import Losses, SequenceInput, TextInput


def test_the_kept_share_counts_valid_tokens_only() -> None:
    valid = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    keep = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    ids = torch.zeros(3, 4, dtype=torch.int64)
    text = TextInput(ids, ids, ids, valid, keep, torch.zeros(3))
    assert text.kept_share().tolist() == [0.5, 1.0, 0.0]


def test_noisy_frames_are_zero_where_nothing_is_kept() -> None:
    keep = torch.tensor([[True, False]])
    sequence = SequenceInput(torch.ones(1, 2, 3), torch.tensor([[True, True]]), keep, torch.ones(1))
    assert sequence.noisy().tolist() == [[[1.0] * 3, [0.0] * 3]]


def test_terms_that_do_not_count_keep_a_gradient_of_zero() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    losses = Losses({"one": x[0] ** 2, "other": x[1] ** 2}, {"one": 0.5, "other": 1.0}, {})
    assert losses.only(["one", "other"]).total() == losses.total() == 11.0
    alone = losses.only(["one"]).total(2)
    alone.backward()
    assert alone == 1.0
    assert x.grad.tolist() == [1.0, 0.0]
