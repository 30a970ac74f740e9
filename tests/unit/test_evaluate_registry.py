"""The named protocols, a user's own, and what a command line changes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lnln_dist.errors import UserError
from lnln_dist.evaluate.protocol import Protocol
from lnln_dist.evaluate.registry import PROTOCOLS, customised, find_protocol, protocol_in

PAPER = PROTOCOLS["paper"]


def conditions(name: str) -> list[tuple[str, float]]:
    seed = PROTOCOLS[name].seeds[0]
    return [(c.pattern, c.rate) for c in PROTOCOLS[name].cells() if c.seed == seed]


def test_the_papers_rates_and_seeds() -> None:
    for name in ("paper", "official", "block", "aligned"):
        assert [round(10 * rate, 9) for _, rate in conditions(name)] == list(range(10))
    assert PAPER.seeds == (1, 2, 3)
    assert PROTOCOLS["official"].seeds == (1111,)


def test_seven_combinations_of_modalities() -> None:
    present = {
        "+".join(m for m, r in cell.rates.items() if r == 0)
        for cell in PROTOCOLS["modality-missing"].cells()
    }
    assert present == {
        *("text", "audio", "vision", "text+audio", "text+vision", "audio+vision"),
        "text+audio+vision",
    }


def test_unequal_rates_have_equal_sums() -> None:
    rates = [tuple(c.rates.values()) for c in PROTOCOLS["imbalanced"].cells() if c.seed == 1]
    assert len(set(rates)) == 6
    assert {tuple(sorted(r)) for r in rates} == {(0.2, 0.5, 0.8)}


def test_windows_are_26_conditions() -> None:
    found = conditions("windows")
    assert len(set(found)) == len(found) == len(PROTOCOLS["windows"].cells()) == 26
    assert sum(rate == 0.3 for _, rate in found) == 15
    assert {(p.split(":")[1], r) for p, r in found if r in (0.1, 0.5)} == {
        ("middle", 0.1),
        ("middle", 0.5),
    }


def test_every_protocol_says_what_it_is_and_is_its_own_yaml(tmp_path: Path) -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.about.endswith(".")
        raw = json.loads(json.dumps(protocol.definition()))
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump({**raw, "name": "mine"}))
        assert find_protocol(str(path)).cells() == protocol.cells()


def written(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"name": "a"}, "yaml: grids: Field required$"),
        ({"name": "a", "grids": []}, "yaml: grids: give at least one"),
        ({"grids": [{"pattern": "none"}]}, "yaml: name: Field required$"),
        ({"name": "a", "seed": [1], "grids": [{"pattern": "none"}]}, "seed: unknown key; did you"),
        (
            {"name": "a", "grids": [{"pattern": "none", "rate": 1}]},
            r"grids.0.rate: .*mean rates\?$",
        ),
        (
            {"name": "a", "grids": [{"pattern": "random", "rates": [1.5]}]},
            r"grids.0.rates.0.number: .*less than or equal to 1, got 1.5$",
        ),
        (
            {
                "name": "a",
                "grids": [{"pattern": "random", "rates": [{"text": 1.0, "vision": 1.0}]}],
            },
            r"grids.0.rates.0.each.audio: Field required$",
        ),
        ({"name": "paper", "grids": [{"pattern": "none"}]}, "paper is one of ours"),
        ({"name": "custom of paper", "grids": [{"pattern": "none"}]}, "is one of ours"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: Any, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        find_protocol(written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="did you mean paper"):
        find_protocol("papr")
    with pytest.raises(UserError, match="no such config file"):
        find_protocol("nowhere.yaml")


def test_options_make_a_custom_protocol() -> None:
    assert customised(PAPER) is PAPER
    assert customised(PAPER, seeds=[1, 2, 3]) is PAPER
    found = customised(PAPER, rates=[0.5], seeds=[7], missing=[("text",)], absent=["audio"])
    assert found.name == "custom of paper"
    assert [(c.pattern, c.rate, c.seed, c.rates["audio"]) for c in found.cells()] == [
        ("random", 0.5, 7, 1.0),
        ("missing:text", 1.0, 7, 1.0),
    ]
    assert customised(PAPER, rates=[], missing=[("text",)]).cells()[0].pattern == "missing:text"
    assert customised(PROTOCOLS["windows"], absent=[]).name == "windows"


@pytest.mark.parametrize(
    ("protocol", "options", "match"),
    [
        ("paper", {"rates": [1.2]}, r"--rates.*\[0, 1\].*1\.2"),
        ("paper", {"rates": [float("nan")]}, "--rates"),
        ("paper", {"rates": [0.1, 0.1]}, "--rates: 0.1 given twice"),
        ("paper", {"seeds": [2, 2]}, "--seeds: 2 given twice"),
        ("paper", {"seeds": [-1]}, "--seeds"),
        ("paper", {"seeds": [2**32]}, "--seeds"),
        ("paper", {"missing": [("text",), ("text",)]}, "--missing: text given twice"),
        ("paper", {"absent": ["text", "audio", "vision"]}, "--absent: at least one"),
        ("paper", {"rates": []}, "nothing to evaluate"),
        ("paper", {"seeds": []}, "nothing to evaluate"),
        ("windows", {"rates": [0.1]}, "--rates: protocol windows is not one pattern"),
        ("imbalanced", {"rates": [0.1]}, "--rates: protocol imbalanced is not"),
        ("windows", {"seeds": [4]}, "--seeds: protocol windows leaves nothing to chance"),
        ("modality-missing", {"missing": [("text",)]}, "missing:text 1.0 given twice"),
        ("cider-rmm", {"absent": ["text"]}, "one rate for all modalities"),
    ],
)
def test_options_that_cannot_be(protocol: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        customised(PROTOCOLS[protocol], **options)


def test_an_evaluation_tells_its_protocol() -> None:
    found = customised(PAPER, rates=[0.5], absent=["audio"])
    summary = json.loads(json.dumps({"protocol_definition": found.definition()}))
    assert protocol_in(summary) == found
    older = {"protocol": "paper", "rates": [0.5], "noise_seeds": [1, 2, 3], "missing": []}
    assert protocol_in({**older, "absent": ["audio"]}).cells() == found.cells()
    older["missing"] = ["text+audio"]
    assert protocol_in(older).cells()[-1].pattern == "missing:text+audio"


def test_the_file_in_the_readme_is_one(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    block = readme.split("`--protocol bursts.yaml`")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "bursts.yaml").write_text(block)
    found = find_protocol(str(tmp_path / "bursts.yaml"))
    assert len(found.cells()) == 3 * (1 + 4 + 2 + 1 + 1)
    for name, protocol in PROTOCOLS.items():
        family, _, variant = name.partition("-")
        told = f"`-{variant}`" if family == "cider" and variant != "rmfm" else f"`{name}`"
        assert told in readme, protocol.name


def test_a_definition_survives_json() -> None:
    raw = json.loads(json.dumps(PROTOCOLS["cms"].definition()))
    assert raw["grids"][0]["rates"][-1] == {"text": 0.1, "audio": 0.7, "vision": 0.7}
    assert list(raw) == list(Protocol.__dataclass_fields__)
