"""``lnln-dist prepare``."""

from collections.abc import Sequence
from typing import Any

from lnln_dist.arguments import Parser
from lnln_dist.commands import add_dataset, add_options, dataset, make_parser, parse, taken
from lnln_dist.config import MODALITIES
from lnln_dist.data.choices import Choices

LAYOUT = (
    "SRC.pkl is a dict with train, valid (or dev, val) and test, each a dict of fields with a row "
    "per sample: audio and vision [n, T, D] or a list of n arrays [T, D]; raw_text, n strings (or "
    "words, n lists of strings); regression_labels (or labels), [n] numbers, or [n, K] with "
    "--label-column; and, where there are any, id, [n] strings or numbers or [n, k] of them; "
    "text_bert [n, 3, T]: token ids, attention mask, segment ids; audio_lengths and "
    "vision_lengths, [n] whole numbers; regression_labels_T, regression_labels_A, "
    "regression_labels_V, [n]. No other field is read. A split may also be a list of ((words, "
    "visual, acoustic), label, id)."
)


def _parser() -> Parser:
    parser = make_parser(
        "prepare",
        "Turn a feature pickle into memory-mapped Arrow shards. The pickle cannot run code; its "
        f"quirks are repaired, counted and reported. {LAYOUT}",
    )
    parser.add_argument("source", metavar="SRC.pkl", help="feature pickle: a path or an fsspec URI")
    parser.add_argument("target", metavar="OUT", help="folder to write")
    add_dataset(parser)
    add_options(parser, Choices)
    for modality, default in (("text", "; 50 without text_bert"), ("audio", ""), ("vision", "")):
        parser.add_argument(
            f"--max-{modality}",
            type=int,
            metavar="N",
            help=f"cut {modality} to N places (default: as the file{default})",
        )
    parser.add_argument("--overwrite", action="store_true", help="replace prepared data in OUT")
    return parser


def command(argv: Sequence[str]) -> int:
    """Writes shards and prints the import report."""
    given = parse(_parser(), argv)
    from rich.console import Console
    from rich.progress import Progress

    from lnln_dist.data.convert import prepare
    from lnln_dist.data.summary import describe

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def advance(split: str, done: int, total: int) -> None:
            if split not in tasks:
                tasks[split] = bar.add_task(split, total=total)
            bar.update(tasks[split], completed=done)

        limits = {m: given[f"max_{m}"] for m in MODALITIES}
        index = prepare(
            given["source"],
            given["target"],
            overwrite=given["overwrite"],
            progress=advance,
            max_lengths={m: n for m, n in limits.items() if n is not None},
            **dataset(given),
            **taken(given, Choices),
        )
    print(describe(index))
    return 0
