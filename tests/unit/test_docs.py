"""The pages: both languages give the same commands, links lead somewhere, every verb is told."""

import re

import pytest
from launch_files import LAUNCH, ROOT

from lnln_dist.cli import VERBS

ENGLISH, CHINESE = (ROOT / "README.md", ROOT / "README.zh.md")
PAGES = [
    *(ENGLISH, CHINESE, *sorted((ROOT / "docs").glob("*.md"))),
    *(ROOT / "lnln_dist/README.md", LAUNCH / "README.md"),
]
MAIN_PATH = (
    *("Start here", "Your data", "Multi-process training", "Sweeps", "Comparing"),
    "Using a model",
)
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )?(?:lnln-dist|bash|accelerate|launch/\S+|pip|python) ")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def commands(page: str) -> list[str]:
    """Lines of the page's bash blocks that run something, without their comments."""
    lines = [
        line for kind, text in FENCE.findall(page) if kind == "bash" for line in text.split("\n")
    ]
    return [re.split(r"\s+#", line)[0].strip() for line in lines if COMMAND.match(line)]


def section(page: str, title: str) -> str:
    return re.split(r"\n## ", page.split(f"\n## {title}\n")[1])[0]


def differences(english: str, chinese: str) -> set[str]:
    """Commands of the Chinese page that the English lacks, and of the main path the other way."""
    main = {line for title in MAIN_PATH for line in commands(section(english, title))}
    return (set(commands(chinese)) - set(commands(english))) | (main - set(commands(chinese)))


def anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_both_languages_give_the_same_commands() -> None:
    english, chinese = ENGLISH.read_text(), CHINESE.read_text()
    assert all(commands(section(english, title)) for title in MAIN_PATH)
    assert not differences(english, chinese)
    for line in commands(chinese):
        assert differences(english, chinese.replace(line, f"{line} --changed")), line
        assert differences(english.replace(line, f"{line} --changed"), chinese), line


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", path.read_text())):
        if link.startswith("https://"):
            continue
        name, _, heading = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not heading or heading in anchors(target.read_text()), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_it_names_exist(path) -> None:
    page = path.read_text()
    pattern = r"(?<![\w/~.])((?:launch|configs|lnln_dist|tests|benchmarks|examples)/[\w./]*\w)"
    named = {name.replace("NAME", "lnln") for name in re.findall(pattern, page)}
    assert named
    assert not [name for name in named if not list(ROOT.glob(f"{name}*"))]


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_every_verb_is_in_the_table(path) -> None:
    rows = re.findall(r"^\| `([\w-]+) [^|]*\|[^|]+\|$", path.read_text(), re.M)
    assert set(VERBS) <= set(rows)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_verbs_of_its_commands_exist(path) -> None:
    told = {line.split()[1] for line in commands(path.read_text()) if line.startswith("lnln-dist")}
    assert told <= set(VERBS)
