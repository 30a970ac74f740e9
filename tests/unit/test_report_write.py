"""Reports from end to end: the verb, its files, and that a hostile text does nothing to them."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from evaluations import write_evaluated_data, write_evaluation

from lnln_dist.commands.report import command
from lnln_dist.errors import UserError
from lnln_dist.report import page
from lnln_dist.report.tables import file_names

HOSTILE = ["</script><img src=x onerror=alert(1)>", "<!-- <script> good film", "plain \u2028 bad"]
RUNS = {
    f"{name}_{seed}": (name, seed, error)
    for name, error in (("good", 0.5), ("<b>bad</b>", 0.9))
    for seed in (1, 2)
}


class _Reader(HTMLParser):
    """What a browser would find: elements with their attributes, and the JSON."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.json = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.json += data


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("e")
    index = write_evaluated_data(base / "data", HOSTILE)
    about = {"data": str(base / "data"), "run_folder": str(base / "run"), "dataset": "mosi"}
    return write_evaluation(
        base / "res",
        RUNS,
        missing=[["text"]],
        slope=0.02,
        data_hash=index.data_hash(),
        alarms=["good_1: <i>odd</i>"],
        **about,
    )


@pytest.fixture(scope="module")
def report(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("r") / "out"
    assert command([str(results), "--output", str(target), "--against", "good"]) == 0
    return target


@pytest.fixture(scope="module")
def read(report: Path) -> _Reader:
    return _Reader((report / "report.html").read_text(encoding="utf-8"))


def test_all_forms_are_there(report: Path) -> None:
    names = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    tables = {"models", "pairs", "scores", "rates", "patterns", "published"}
    pictures = {"mae", "completeness", "confusion_good", "confusion_-b-bad--b-"}
    assert names == (
        {"report.html", "report.md", "report.tex"}
        | {f"{name}.csv" for name in tables}
        | {f"figures/{name}.{kind}" for name in pictures for kind in ("png", "pdf")}
    )
    text = (report / "report.md").read_text()
    assert "good is better than <b>bad</b>" in text
    assert "least true difference that these samples and seeds would find" in text
    assert "lnln-dist report" in text
    assert (report / "report.tex").read_text().count("\\toprule") == 2
    scores = pd.read_csv(report / "scores.csv").set_index("model")
    models = pd.read_csv(report / "models.csv").set_index("model")
    assert scores.loc["good", "mae"] == models.loc["good", "mean"]
    assert scores.loc["constant", "mae"] == models.loc["good", "constant"]


def test_published_rows_of_the_data_set_come_with_their_errata(report: Path) -> None:
    table = pd.read_csv(report / "published.csv")
    assert set(table["method"]) >= {"LNLN", "LNLN (re-run by TCMR)"}
    text = (report / "report.md").read_text()
    assert "F1 computed with truth and prediction swapped" in text


def test_the_page_asks_nothing_of_the_network(read: _Reader) -> None:
    policy = next(a for tag, a in read.tags if "http-equiv" in a)["content"]
    assert policy and policy.startswith("default-src 'none'; ")
    for tag, attributes in read.tags:
        assert tag not in ("img", "iframe", "object", "embed", "b", "i")
        for name in ("src", "href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)


def test_no_script_runs_but_ours(report: Path, read: _Reader) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    scripts = [a for tag, a in read.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert not [a for _, a in read.tags if any(name.startswith("on") for name in a)]
    policy = next(a for _, a in read.tags if "http-equiv" in a)["content"]
    for kind, element in (("script", "<script>"), ("style", "<style>")):
        start = text.index(element) + len(element)
        own = page._policy_hash(text[start : text.index(f"</{kind}>", start)])
        assert f"{kind}-src '{own}'" in str(policy)


def test_hostile_texts_arrive_as_texts(read: _Reader) -> None:
    data = json.loads(read.json)
    (part,) = data["protocols"]
    assert part["models"] == ["good", "<b>bad</b>"]
    texts = {"".join(piece for piece, _ in sample["pieces"]) for sample in part["samples"]}
    assert texts == set(HOSTILE)
    assert part["marked"] and not part["without"]
    assert len(part["samples"]) == part["samples_of"] == 60


def test_the_data_of_the_page(read: _Reader) -> None:
    (part,) = json.loads(read.json)["protocols"]
    assert [c["name"] for c in part["conditions"]] == ["0.0", "0.5", "missing:text"]
    assert [c["mean"] for c in part["conditions"]] == [True, True, False]
    assert part["curves"]["mae"][0][0][0] == pytest.approx(0.5, abs=0.1)
    assert sum(map(sum, part["confusion"][0][0])) == 2 * 2 * 60  # trainings, noise seeds, samples
    assert part["calibration"][0]["1"] == pytest.approx([0.51, 0], abs=1e-4)
    assert sum(part["lengths"]["count"]) == 60


def test_without_the_data_the_page_says_so(tmp_path: Path) -> None:
    where = write_evaluation(tmp_path / "e", {"a_1": ("a", 1, 0.5)}, data=str(tmp_path / "gone"))
    command([str(where), "--output", str(tmp_path / "out")])
    read = _Reader((tmp_path / "out" / "report.html").read_text())
    (part,) = json.loads(read.json)["protocols"]
    assert "cannot be opened" in part["without"]
    assert part["lengths"] is None
    assert "pieces" not in part["samples"][0]
    assert not (tmp_path / "out" / "pairs.csv").exists()


def test_protocols_stand_apart(results: Path, tmp_path: Path) -> None:
    runs = {"x_1": ("x", 1, 0.5), "y_1": ("y", 1, 0.6)}
    both = [
        write_evaluation(tmp_path / name, runs, protocol=name, seeds=seeds)
        for name, seeds in (("paper", (1, 2)), ("official", (1111,)))
    ]
    left = tmp_path / ".pending-out-77-0123abcd"  # by a process that was killed
    left.mkdir()
    command([*map(str, both), "--output", str(tmp_path / "out")])
    assert not left.exists()
    read = _Reader((tmp_path / "out" / "report.html").read_text())
    assert [p["name"] for p in json.loads(read.json)["protocols"]] == ["paper", "official"]
    names = {p.name for p in (tmp_path / "out").rglob("*")}
    assert names >= {"mae_paper.png", "mae_official.png", "rates_paper.csv", "rates_official.csv"}
    assert "## mae by condition, protocol official" in (tmp_path / "out" / "report.md").read_text()


def test_only_a_report_is_replaced(report: Path, results: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists"):
        command([str(results), "--output", str(report)])
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="is no report"):
        command([str(results), "--output", str(tmp_path / "mine"), "--overwrite"])


@pytest.mark.parametrize("package", ["jinja2", "matplotlib.figure"])
def test_a_missing_package_is_one_line(
    package: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("lnln_dist.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("lnln_dist.report.figures")
    monkeypatch.setitem(sys.modules, package, None)
    told = rf"report needs {package.split('.')[0]}: pip install .*\[report\]"
    with pytest.raises(UserError, match=told):
        command([str(results), "--output", str(tmp_path / "out")])


def test_no_figure_takes_the_file_of_another() -> None:
    names = file_names(["a b", "a-b", "A-B", "a" * 250, "a" * 251, "b", "\u00df" * 200])
    assert names[:3] == ["a-b", "a-b_2", "A-B_3"]
    assert len({name.lower() for name in names}) == len(names)
    assert max(len(name.encode()) for name in names) < 70
