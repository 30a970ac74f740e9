"""How far two trainings of the small network are apart."""

from collections.abc import Iterator
from typing import Any

import torch

Result = dict[str, Any]


def common(one: Result, other: Result, kind: str) -> Iterator[tuple[Any, Any]]:
    """Pairs of ``losses`` or ``norms`` of the steps both have made."""
    first = max(one["first"], other["first"])
    last = min(result["first"] + len(result[kind]) for result in (one, other))
    assert last > first
    for step in range(first, last):
        yield one[kind][step - one["first"]], other[kind][step - other["first"]]


def loss_gap(one: Result, other: Result) -> float:
    """Largest difference of a loss term."""
    return max(abs(a[name] - b[name]) for a, b in common(one, other, "losses") for name in a)


def norm_gap(one: Result, other: Result) -> float:
    """Largest relative difference of the gradient norm."""
    return max(abs(a - b) / a for a, b in common(one, other, "norms"))


def tensor_gap(one: Result, other: Result, kind: str) -> float:
    """Largest difference of ``weights`` or ``slots`` at the end."""
    a, b = one[kind], other[kind]
    assert a.keys() == b.keys()
    assert all(a[name].shape == b[name].shape for name in a)
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def equal(one: Result, other: Result) -> bool:
    """Losses, norms, weights and slots are the same, bit for bit."""
    logs = all(a == b for kind in ("losses", "norms") for a, b in common(one, other, kind))
    tensors = all(
        one[kind].keys() == other[kind].keys()
        and all(torch.equal(one[kind][name], other[kind][name]) for name in one[kind])
        for kind in ("weights", "slots")
    )
    return logs and tensors
