"""What a protocol's definition unfolds into."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lnln_dist.config import MODALITIES
from lnln_dist.errors import DataError, UserError
from lnln_dist.evaluate.protocol import (
    Grid,
    Protocol,
    Rates,
    distinct,
    grid,
    noises_for,
    parse_missing,
)
from lnln_dist.evaluate.registry import PROTOCOLS

LENGTHS = {m: np.array([6, 9]) for m in MODALITIES}
PADDED = dict.fromkeys(MODALITIES, 9)


class Two:
    """As much of a split as the noise needs."""

    ids = ("a", "b")
    lengths = LENGTHS

    def __len__(self) -> int:
        return 2


def one(**fields: Any) -> Protocol:
    return Protocol(name="own", grids=(Grid(**fields),))


def names(protocol: Protocol) -> list[tuple[str, float]]:
    return [(cell.pattern, cell.rate) for cell in protocol.cells()]


def test_grid_has_every_rate_with_every_seed() -> None:
    cells = grid([0.0, 0.5], [3, 1])
    assert [(c.rate, c.seed) for c in cells] == [(0.0, 3), (0.0, 1), (0.5, 3), (0.5, 1)]
    assert all(c.rates == {"text": c.rate, "audio": c.rate, "vision": c.rate} for c in cells)
    assert {c.pattern for c in cells} == {"random"}


def test_groups_places_and_rates_are_conditions_with_one_another() -> None:
    found = one(
        pattern="block",
        rates=(0.1, 0.5),
        places=("start", "end"),
        modalities=(("text",), ("vision", "audio")),
        spans=2,
    )
    assert names(found) == [
        *((f"block:{place}:2 spans:text", r) for place in ("start", "end") for r in (0.1, 0.5)),
        *(
            (f"block:{place}:2 spans:audio+vision", r)
            for place in ("start", "end")
            for r in (0.1, 0.5)
        ),
    ]
    assert found.cells()[1].rates == {"text": 0.5, "audio": 0.0, "vision": 0.0}
    assert found.cells()[-1].rates == {"text": 0.0, "audio": 0.5, "vision": 0.5}
    assert found.cells()[-1].erasure == ("block", "end", 2, False, 0.0)


def test_names_tell_conditions_apart() -> None:
    assert names(one(pattern="none")) == [("clean", 0.0)]
    assert names(one(pattern="random", rates=(0.2,), shared=True)) == [("random:shared", 0.2)]
    lost = one(pattern="random", rates=(1.0,), modalities=(("vision", "text"),))
    assert names(lost) == [("missing:text+vision", 1.0)]
    unequal = one(pattern="random", rates=(Rates(text=0.2, audio=0.5, vision=0.25),))
    assert names(unequal) == [("random:text=0.2 audio=0.5 vision=0.25", 0.5)]


def test_what_is_absent_is_absent_everywhere_and_gives_no_condition_its_rate() -> None:
    grids = (Grid(pattern="none"), Grid(pattern="block", rates=(0.3,)))
    found = Protocol(name="own", grids=grids, absent=("audio",), seeds=(1, 2))
    assert [(c.pattern, c.rate, c.seed) for c in found.cells()] == [
        *(("clean", 0.0, s) for s in (1, 2)),
        *(("block", 0.3, s) for s in (1, 2)),
    ]
    assert {c.rates["audio"] for c in found.cells()} == {1.0}


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"pattern": "random"}, "give at least one"),
        ({"pattern": "none", "rates": (0.1,)}, "none for pattern none"),
        ({"pattern": "random", "rates": (1.2,)}, "less than or equal to 1"),
        ({"pattern": "random", "rates": (0.1, 0.1)}, "random 0.1 given twice"),
        ({"pattern": "random", "rates": (0.1,), "spans": 2}, "no effect in pattern random"),
        ({"pattern": "random", "rates": (0.1,), "places": ("end",)}, "no effect in pattern"),
        ({"pattern": "modality", "rates": (0.1,), "shared": True}, "no effect in pattern modal"),
        ({"pattern": "block", "rates": (0.1,), "burst": 0.1}, "no other has it"),
        ({"pattern": "block", "rates": (0.1,), "places": ()}, "a list of at least one"),
        ({"pattern": "block", "rates": (0.1,), "modalities": ((),)}, "no group empty"),
        ({"pattern": "block", "rates": (0.1,), "modalities": (("text",) * 2,)}, "named twice"),
        ({"pattern": "none", "modalities": (("text",),)}, "no groups with pattern none"),
        ({"pattern": "RMFM", "rates": (0.1,)}, "not one of generator paper"),
    ],
)
def test_a_grid_that_says_nothing_or_too_much_is_refused(fields: Any, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        one(**fields)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"generator": "official", "pattern": "random", "shared": True}, "no effect with gener"),
        ({"generator": "cms", "pattern": "block", "spans": 2}, "no effect with generator cms"),
        ({"generator": "cider", "pattern": "RMM", "absent": ("audio",)}, "one rate for all"),
        ({"pattern": "random", "seeds": (2, 2)}, "2 given twice"),
        ({"pattern": "random", "seeds": (-1,)}, "greater than or equal to 0"),
        ({"pattern": "random", "seeds": (2**32,)}, "less than 4294967296"),
        ({"pattern": "random", "absent": MODALITIES}, "has to be present"),
        (
            {"pattern": "random", "modalities": (("text",),), "absent": ("text",)},
            "nothing that is present",
        ),
        ({"pattern": "random", "name": " x"}, "pattern"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused(fields: dict[str, Any], match: str) -> None:
    own = {k: fields.pop(k) for k in ("pattern", "shared", "spans", "modalities") if k in fields}
    with pytest.raises(ValidationError, match=match):
        Protocol(**{"name": "own", "grids": (Grid(rates=(0.5,), **own),), **fields})


def test_only_rates_of_0_and_1_and_fixed_places_are_certain() -> None:
    assert [c.certain for c in grid([0.0, 0.1, 1.0], [1])] == [True, False, True]
    assert all(c.certain for c in PROTOCOLS["windows"].cells())
    assert not any(c.certain for c in one(pattern="block", rates=(0.3,)).cells())
    burst = Grid(pattern="mixed_burst", rates=(0.0,), burst=0.1)
    (cell,) = Protocol(name="own", generator="cms", grids=(burst,)).cells()
    assert not cell.certain


def test_parse_missing() -> None:
    assert parse_missing("vision, audio") == ("audio", "vision")
    assert parse_missing("text") == ("text",)
    for wrong in ("", "txt", "text,"):
        with pytest.raises(UserError, match="--missing"):
            parse_missing(wrong)
    with pytest.raises(UserError, match="--absent"):
        parse_missing("txt", "--absent")


def test_noise_is_the_named_generators() -> None:
    lengths = {m: np.full(2, 6) for m in MODALITIES}
    width = dict.fromkeys(MODALITIES, 6)
    rows = np.arange(2)
    (cell,) = grid([0.5], [1111])
    fields = np.random.RandomState(1111).uniform(size=(2, 9))[:, :6]
    (official,) = noises_for([cell], "official", Two(), PADDED)  # type: ignore[arg-type]
    drawn = official.draw(rows, 0, lengths, width)["audio"].keep_BT
    assert (drawn == (fields > 0.5)).all()
    (paper,) = noises_for([cell], "paper", Two(), PADDED)  # type: ignore[arg-type]
    other = grid([0.5], [2])[0]
    both = noises_for([cell, other], "paper", Two(), {})  # type: ignore[arg-type]
    seeds = [noise.draw(rows, 0, lengths, width) for noise in both]
    assert (paper.draw(rows, 0, lengths, width)["audio"].keep_BT == seeds[0]["audio"].keep_BT).all()
    assert any((seeds[0][m].keep_BT != seeds[1][m].keep_BT).any() for m in MODALITIES)


def test_conditions_that_erase_the_same_are_one_and_nested_noise_follows() -> None:
    groups = (("text",), ("audio", "text", "vision"))
    cells = [
        *grid([0.5, 0.0, 0.2, 1.0], [7, 3]),
        *one(pattern="block", rates=(1.0,), modalities=groups).cells(),
    ]
    found = distinct(cells)
    assert [(cell.rates["text"], cell.rates["audio"]) for cell in found] == [
        *((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),
        *((0.2, 0.2), (0.5, 0.5), (0.2, 0.2), (0.5, 0.5)),
    ]
    assert [cell.seed for cell in found[3:]] == [3, 3, 7, 7]
    assert {cell.condition for cell in cells} == {cell.condition for cell in found}


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_one_condition_is_never_taken_for_another(protocol: Protocol) -> None:
    """What is computed once for several cells erases the same places in each of them."""
    cells = protocol.cells()
    noises = noises_for(cells, protocol.generator, Two(), PADDED)  # type: ignore[arg-type]
    seen: dict[Any, Any] = {}
    for cell, noise in zip(cells, noises, strict=True):
        drawn = noise.draw(np.arange(2), 0, LENGTHS, PADDED)
        masks = np.stack([drawn[m].keep_BT for m in MODALITIES])
        assert (seen.setdefault(cell.condition, masks) == masks).all()


def test_aligned_patterns_need_aligned_data() -> None:
    split, cells = Two(), PROTOCOLS["cider-tmfm"].cells()
    split.lengths = {**LENGTHS, "audio": np.array([1, 2])}
    with pytest.raises(DataError, match="needs an aligned file"):
        noises_for(cells, "cider", split, PADDED)  # type: ignore[arg-type]


def test_the_definition_is_said_in_one_line() -> None:
    assert "; any split may have chosen the checkpoint (" in PROTOCOLS["as-is"].words()
    assert replace(PROTOCOLS["windows"], about="").words() == (
        "windows v1: nothing erased; block at 0.3, start, middle, end, of text, audio, vision, "
        "audio+vision, text+audio+vision; block at 0.1, 0.5, middle, of text, audio, vision, "
        "audio+vision, text+audio+vision; generator paper; checkpoint chosen on valid"
    )
    assert (
        PROTOCOLS["paper"]
        .words()
        .endswith(
            "(Independent places at the ten rates of arXiv 2409.20012; [CLS] and [SEP] are spared)"
        )
    )
    assert "mixed_burst at 0.2, burst 0.3; generator cms; seeds 1111" in PROTOCOLS["cms"].words()
    assert "random at 0.2/0.5/0.8, 0.2/0.8/0.5" in PROTOCOLS["imbalanced"].words()
    raised = Protocol(name="own", version=2, grids=(Grid(pattern="none"),))
    assert raised.title == "own v2"
    assert PROTOCOLS["paper"].title == "paper"


def test_what_would_take_for_ever_is_refused() -> None:
    with pytest.raises(ValidationError, match="spans"):
        Grid(pattern="block", rates=(0.5,), spans=65)
    one = Grid(pattern="random", rates=(0.5, 0.6))
    assert len(Protocol(name="x", grids=(one,), seeds=tuple(range(5000))).cells()) == 10_000
    with pytest.raises(ValidationError, match=r"10002 cells .* the most is 10000: give fewer"):
        Protocol(name="x", grids=(one,), seeds=tuple(range(5001)))
