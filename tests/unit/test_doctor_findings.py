"""Findings, joined over ranks and shown."""

import json

import pytest

from lnln_dist.doctor.findings import (
    Finding,
    as_json,
    as_text,
    fail,
    from_error,
    merge,
    ok,
    warn,
    worst,
)
from lnln_dist.errors import DataError


def test_what_is_not_ok_needs_a_remedy_and_what_is_needs_none() -> None:
    with pytest.raises(AssertionError):
        Finding("a", "fail", "broken")
    with pytest.raises(AssertionError):
        Finding("a", "ok", "fine", "do nothing")


@pytest.mark.parametrize(
    ("message", "found", "remedy"),
    [
        ("data/x: no such folder; write it anew", "data/x: no such folder", "write it anew"),
        ("a: b is wrong: mend it", "a: b is wrong", "mend it"),
        ("broken", "broken", "see the message"),
    ],
)
def test_an_error_is_cut_at_its_remedy(message: str, found: str, remedy: str) -> None:
    assert from_error("data", DataError(message)) == fail("data", found, remedy)


def test_ranks_that_agree_are_one_line_and_others_are_named() -> None:
    same, mine = ok("python", "3.11"), fail("port", "taken", "free it")
    joined = merge([[same, ok("port", "free")], [same, mine], [same, mine]], ["a", "b", "b"])
    assert joined[0] == same
    assert {(f.found, f.where) for f in joined[1:]} == {
        ("free", "rank 0 (a)"),
        ("taken", "ranks 1 (b), 2 (b)"),
    }
    many = merge([[same], *[[same, mine]] * 6], ["h"] * 7)
    assert many[1].where == "ranks 1 (h), 2 (h), 3 (h), 4 (h) and 2 more"


def test_what_only_some_ranks_looked_at_is_not_a_difference() -> None:
    disk = ok("disk", "free")
    assert merge([[disk], [], [disk]], ["a", "a", "b"]) == [disk]


def test_the_worst_decides() -> None:
    assert worst([]) == "ok"
    assert worst([ok("a", "b"), warn("c", "d", "e")]) == "warn"
    assert worst([fail("x", "y", "z"), ok("a", "b"), warn("c", "d", "e")]) == "fail"


def test_the_table_has_remedies_below_and_counts_last() -> None:
    text = as_text([ok("a", "fine"), fail("longer", "broken", "mend it")])
    assert text.splitlines() == [
        "ok    a       fine",
        "fail  longer  broken",
        " " * 14 + "-> mend it",
        "",
        "1 fail, 0 warn, 1 ok",
    ]


def test_json() -> None:
    found = json.loads(as_json([warn("a", "b", "c")]))
    assert found == {
        "ok": True,
        "findings": [{"check": "a", "level": "warn", "found": "b", "remedy": "c", "where": ""}],
    }
    assert json.loads(as_json([fail("a", "b", "c")]))["ok"] is False
