"""What batches compute about themselves."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lnln_dist.types import Losses, SequenceInput, TextInput, seen_share, there


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


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.integers(0, 3), st.floats(0, 1))
def test_shares_of_what_was_there_are_those_of_a_plain_count(inner, padding, rate) -> None:
    seen = torch.tensor([[True, *inner, True, *[False] * padding]])
    valid = torch.arange(seen.shape[1])[None] < len(inner) + 2
    ids, rate_B = torch.zeros_like(seen, dtype=torch.int64), torch.tensor([rate])
    text = TextInput(ids, ids, ids, valid, seen, rate_B, seen)
    assert text.kept_share().item() == pytest.approx((2 + sum(inner)) / (2 + len(inner)))
    assert seen_share(text).item() == pytest.approx(sum(inner) / len(inner), abs=1e-6)
    # Those which noise of that rate leaves of what was there, on average.
    left = (1 - rate) * sum(inner) / len(inner)
    assert text.nominal_share().item() == pytest.approx(left, abs=1e-6)
    complete = text._replace(seen_BT=None)
    assert torch.equal(complete.nominal_share(), 1 - rate_B)
    assert torch.equal(there(complete), valid)
    sound = SequenceInput(torch.ones(*seen.shape, 2), valid, seen, rate_B, seen)
    assert seen_share(sound).item() == pytest.approx((2 + sum(inner)) / (2 + len(inner)))
    assert torch.equal(there(sound), seen)


def test_a_modality_that_never_was_has_no_share_and_one_without_places_lacks_none() -> None:
    valid = torch.tensor([[True] * 7, [True] * 2 + [False] * 5])
    seen = torch.tensor([[True, *[False] * 5, True], valid[1].tolist()])
    ids, rate_B = torch.zeros(2, 7, dtype=torch.int64), torch.zeros(2)
    text = TextInput(ids, ids, ids, valid, seen, rate_B, seen)
    assert seen_share(text).tolist() == text.nominal_share().tolist() == [0.0, 1.0]
    nothing = torch.zeros_like(valid)
    sound = SequenceInput(torch.zeros(2, 7, 1), valid, nothing, rate_B, nothing)
    assert seen_share(sound).tolist() == [0.0, 0.0]
