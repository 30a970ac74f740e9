"""What a feature file must hold is said where people look for it."""

import pytest
from launch_files import ROOT

from lnln_dist.commands.prepare import command
from lnln_dist.data.mmsa import LABELS
from lnln_dist.errors import UserError
from lnln_dist.vocabulary import CONVERTED


def test_the_layout_is_in_the_help_and_on_the_front_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    page = (ROOT / "README.md").read_text().split("## Your data")[1].split("\n## ")[0]
    fields = ("id", "raw_text", "words", "text_bert", "audio", "vision", "labels", "dev", "val")
    for field in (*fields, "audio_lengths", "vision_lengths", *LABELS.values()):
        assert field in shown
        # The page writes `regression_labels_T`, `_A`, `_V`.
        assert f"`{field}`" in page or f"`_{field[-1]}`" in page
    kinds = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "SentencePiece", "corpus")
    named = {"Deberta": "DeBERTa", "Albert": "ALBERT", "XLMRoberta": "XLM-R"}
    converted = [name.removesuffix("Tokenizer").removesuffix("V2") for name in CONVERTED]
    for kind in (*kinds, "hub name", *(named.get(name, "CamemBERT") for name in converted)):
        assert kind in shown
        assert kind in page
    for shape in ("[n, T, D]", "[n, 3, T]"):
        assert shape in shown
        assert shape in page


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (("nan", "1"), "two finite numbers"),
        (("-inf", "inf"), "two finite numbers"),
        (("3", "-3"), "two finite numbers"),
        (("-1e1", "1e1"), "nowhere.pkl: no such file"),
        (("low", "1"), "--label-range: invalid number value: 'low'"),
    ],
)
def test_label_ranges_are_judged_whatever_they_begin_with(numbers, message, tmp_path) -> None:
    own = ["--dataset", "own", "--family", "mosi", "--label-range", *numbers]
    with pytest.raises(UserError, match=message):
        command([str(tmp_path / "nowhere.pkl"), str(tmp_path / "out"), *own])
