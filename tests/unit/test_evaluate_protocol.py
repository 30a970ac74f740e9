"""Named noise grids."""

import math

import numpy as np
import pytest

from lnln_dist.errors import UserError
from lnln_dist.evaluate.protocol import (
    RATES,
    SEEDS,
    distinct,
    grid,
    missing_cells,
    noises_for,
    parse_missing,
)


class Two:
    """As much of a split as the noise needs."""

    ids = ("a", "b")

    def __len__(self) -> int:
        return 2


def test_grid_has_every_rate_with_every_seed() -> None:
    cells = grid([0.0, 0.5], [3, 1])
    assert [(c.rate, c.seed) for c in cells] == [(0.0, 3), (0.0, 1), (0.5, 3), (0.5, 1)]
    assert all(c.rates == {"text": c.rate, "audio": c.rate, "vision": c.rate} for c in cells)
    assert {c.pattern for c in cells} == {"random"}


def test_defaults_are_ten_rates() -> None:
    assert [round(10 * rate, 9) for rate in RATES] == list(range(10))
    assert SEEDS["official"] == (1111,)


@pytest.mark.parametrize(
    ("rates", "seeds", "match"),
    [
        ([1.2], [1], r"--rates.*\[0, 1\].*1\.2"),
        ([-0.1], [1], "--rates"),
        ([math.nan], [1], "--rates"),
        ([0.1, 0.1], [1], "0.1 given twice"),
        ([0.1], [2, 2], "2 given twice"),
        ([0.1], [-1], "--seeds"),
        ([0.1], [2**32], "--seeds"),
    ],
)
def test_grid_refuses(rates: list[float], seeds: list[int], match: str) -> None:
    with pytest.raises(UserError, match=match):
        grid(rates, seeds)


def test_missing_cells_are_all_or_nothing() -> None:
    text, rest = missing_cells([("text",), ("vision", "audio")], seed=7)
    assert text.pattern == "missing:text"
    assert text.rates == {"text": 1.0, "audio": 0.0, "vision": 0.0}
    assert rest.pattern == "missing:audio+vision"
    assert rest.rates == {"text": 0.0, "audio": 1.0, "vision": 1.0}
    assert rest.rate == 1.0
    with pytest.raises(UserError, match="text given twice"):
        missing_cells([("text",), ("text",)], seed=7)


def test_only_rates_of_0_and_1_are_certain() -> None:
    assert [c.certain for c in grid([0.0, 0.1, 1.0], [1])] == [True, False, True]
    assert missing_cells([("text",)], seed=1)[0].certain


def test_parse_missing() -> None:
    assert parse_missing("vision, audio") == ("audio", "vision")
    assert parse_missing("text") == ("text",)
    for wrong in ("", "txt", "text,"):
        with pytest.raises(UserError, match="--missing"):
            parse_missing(wrong)


def test_noise_is_the_named_protocols() -> None:
    lengths = {m: np.full(2, 6) for m in ("text", "audio", "vision")}
    width = dict.fromkeys(lengths, 6)
    rows = np.arange(2)
    (cell,) = grid([0.5], [1111])
    fields = np.random.RandomState(1111).uniform(size=(2, 9))[:, :6]
    (official,) = noises_for([cell], "official", Two(), dict.fromkeys(lengths, 9))  # type: ignore[arg-type]
    drawn = official.draw(rows, 0, lengths, width)["audio"].keep_BT
    assert (drawn == (fields > 0.5)).all()
    (paper,) = noises_for([cell], "paper", Two(), dict.fromkeys(lengths, 9))  # type: ignore[arg-type]
    other = grid([0.5], [2])[0]
    both = noises_for([cell, other], "paper", Two(), {})  # type: ignore[arg-type]
    seeds = [noise.draw(rows, 0, lengths, width) for noise in both]
    assert (paper.draw(rows, 0, lengths, width)["audio"].keep_BT == seeds[0]["audio"].keep_BT).all()
    assert any((seeds[0][m].keep_BT != seeds[1][m].keep_BT).any() for m in lengths)


def test_conditions_that_erase_the_same_are_one_and_nested_noise_follows() -> None:
    cells = [
        *grid([0.5, 0.0, 0.2, 1.0], [7, 3]),
        *missing_cells([("text",), ("audio", "text", "vision")], 7),
    ]
    found = distinct(cells)
    assert [(cell.rates["text"], cell.rates["audio"]) for cell in found] == [
        *((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),
        *((0.2, 0.2), (0.5, 0.5), (0.2, 0.2), (0.5, 0.5)),
    ]
    assert [cell.seed for cell in found[3:]] == [3, 3, 7, 7]
    assert {cell.condition for cell in cells} == {cell.condition for cell in found}
