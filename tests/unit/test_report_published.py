"""Published scores, and what is wrong with some."""

from pathlib import Path

import pandas as pd
import pytest

from lnln_dist.errors import UserError
from lnln_dist.metrics import scores
from lnln_dist.report.published import PAIRS, SHARES, check, load_scores, published

NAMED = ["ALMT", "IPC", "LNLN", "P-RMF", "RECAP", "SemMSA"]  # SIMS tables with swapped F1


def _swapped(table: pd.DataFrame) -> list[str]:
    return [finding.row for finding in check(table) if finding.kind == "swapped"]


def test_the_tables_known_to_be_swapped_are_flagged() -> None:
    sims = published().query("dataset == 'sims'")
    assert sorted({row.split(",")[0] for row in _swapped(sims)}) == NAMED
    (text,) = {row for row in _swapped(published()) if "text missing" in row}
    assert text == "LNLN, mosei, text missing"


def test_no_table_known_to_be_right_is_flagged() -> None:
    right = published().query("f1_order == 'truth first'")
    assert len(right) > 15
    assert _swapped(right) == []


def test_published_baselines_below_the_constant_are_named() -> None:
    sims = published().query("dataset == 'sims'")
    below = [finding.row.split(",")[0] for finding in check(sims) if finding.kind == "floor"]
    assert below == ["CENET", "TFR-Net"]


def test_every_published_row_has_its_source_and_its_choice_of_checkpoint() -> None:
    table = published()
    needed = ["method", "dataset", "source", "protocol", "selected_on"]
    assert table[needed].notna().all(axis=None)
    assert not table.duplicated(needed).any()
    assert set(table["selected_on"]) == {"test", "valid", "unknown"}


def test_a_constant_scores_2p_over_1_plus_p_with_the_arguments_swapped(tmp_path: Path) -> None:
    label, constant = [1.0] * 7 + [-1.0] * 3, [0.5] * 10
    right, swapped = scores(constant, label, "sims"), scores(label, constant, "sims")
    file = tmp_path / "scores.csv"
    file.write_text(f"method,acc2,f1\na,{right['acc2']},{right['f1']}\nb,.7,{swapped['f1']}\n")
    (found,) = check(load_scores(file))
    assert (found.row, found.kind) == ("b", "swapped")
    assert "2p/(1+p)" in found.text


@pytest.mark.parametrize("dataset", SHARES)
def test_a_score_at_the_constant_floor_is_named(dataset: str) -> None:
    row = {"dataset": dataset, **SHARES[dataset]}
    assert [f.kind for f in check(pd.DataFrame([row]))] == ["floor"] * len(SHARES[dataset])
    better = {"dataset": dataset, **{k: v + 1 for k, v in SHARES[dataset].items()}}
    assert check(pd.DataFrame([better])) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("method,mae\na,1\n", "no accuracy with its F1"),
        ("acc2,f1\n70,x\n", "f1 'x' is no score"),
        ("acc2,f1\n70,170\n", "is no score"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_file_that_holds_no_scores_is_refused_in_one_line(
    text: str, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / "scores.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=complaint) as told:
        load_scores(file)
    assert "\n" not in str(told.value)


def test_pairs_are_columns_of_the_published_table() -> None:
    assert {name for pair in PAIRS for name in pair} <= set(published().columns)
