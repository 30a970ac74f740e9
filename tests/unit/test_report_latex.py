"""The tables of a paper."""

import re
from pathlib import Path

import pytest
from evaluations import write_evaluation

from lnln_dist.report.comparison import compare
from lnln_dist.report.latex import latex
from lnln_dist.report.models import models_of

RUNS = {f"{name}{seed}": (name, seed, error) for name, error in (("good_1", 0.3), ("bad", 1.2))
        for seed in (1, 2, 3)}  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write_evaluation(tmp_path_factory.mktemp("e") / "r", RUNS, hardness_sd=0.1)
    found = compare([folder])
    runs = [run for model in found.compared for run in model.runs]
    scores = ("mae", "corr", "acc7", "f1_macro7", "f1_non0")
    return latex({m: models_of(runs, m) for m in scores}, "mae", ["50 % of\tthem"])


def test_a_paper_reads_the_fields_names_with_spread_and_units(text: str) -> None:
    assert "Model & Acc-7 & F1 (non 0) & MAE & Corr \\\\" in text  # macro-F1 is no row of papers
    row = next(line for line in text.splitlines() if line.startswith("good\\_1 & "))
    acc, f1, mae, corr = re.findall(r"(-?\d+\.\d+) ± (\d+\.\d+)", row)
    assert float(acc[0]) > 10 and re.fullmatch(r"\d+\.\d", acc[0])  # per cent
    assert re.fullmatch(r"0\.\d{3}", mae[0]) and re.fullmatch(r"0\.\d{3}", corr[0])
    assert float(f1[0]) <= 100
    assert "2 noise seeds and 3 training seeds, with the standard deviation" in text
    assert text.startswith("% needs \\usepackage{booktabs}\n% 50 % of them\n")


def test_bold_is_a_lead_that_holds(text: str, tmp_path: Path) -> None:
    good, bad = (next(li for li in text.splitlines() if li.startswith(n)) for n in ("good", "bad"))
    assert "\\textbf" in good
    assert "\\textbf" not in bad
    even = {name: (f"m{i % 2}", i // 2, 0.5) for i, name in enumerate("abcd")}
    runs = [r for m in compare([write_evaluation(tmp_path / "r", even)]).compared for r in m.runs]
    assert "\\textbf" not in latex({"mae": models_of(runs, "mae")}, "mae", [])


def test_each_table_is_whole(text: str) -> None:
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    for block in re.findall(r"\\begin\{tabular\}\{(l r*|lr*)\}(.*?)\\end", text, re.DOTALL):
        cells = {line.count(" & ") for line in block[1].splitlines() if line.endswith("\\\\")}
        assert cells == {len(block[0]) - 1}
    assert re.search(r"protocol paper, checkpoints chosen on valid\.", text)
    assert "\\label{tab:conditions-paper}" in text
    assert "best constant & " in text
    assert "Condition & good\\_1 & bad \\\\" in text
    assert re.search(r"The best constant reaches 1\.\d{3}\.", text)
