"""``lnln-dist extract``."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnln_dist.arguments import Parser
from lnln_dist.clips.choices import Corpus, Extractor
from lnln_dist.commands import add_dataset, add_options, dataset, make_parser, parse, taken
from lnln_dist.console import counted
from lnln_dist.errors import ConfigError

if TYPE_CHECKING:
    from lnln_dist.clips.pool import Tasks


def _parser() -> Parser:
    parser = make_parser(
        "extract",
        "Turn a folder of clips and a label file into prepared shards. LABELS.csv has the columns "
        "video_id, clip_id, text, label, mode (train, valid or test) and, where known, label_T, "
        "label_A, label_V; a clip is CLIPS/VIDEO_ID/CLIP_ID.mp4 (or .mkv, .wav, ...), its text "
        "may stand in CLIP_ID.srt or .vtt. Any of the three modalities may be missing. Rows that "
        "cannot be used are listed in OUT.rejected.csv. Killed and started again, it goes on.",
    )
    parser.add_argument("labels", metavar="LABELS.csv", help="one row per clip")
    parser.add_argument("clips", metavar="CLIPS", help="folder of the clips")
    parser.add_argument("target", metavar="OUT", help="folder to write")
    add_dataset(parser)
    add_options(parser, Corpus)
    add_options(parser, Extractor)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument(
        "--address",
        help="run the clips as tasks of this Ray cluster instead, whose nodes all see CLIPS and "
        "OUT; `local` starts one of this machine",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace prepared data in OUT")
    return parser


@contextlib.contextmanager
def _cluster(given: Mapping[str, Any], target: Path) -> "Iterator[Tasks | None]":
    """What runs the clips as tasks of a cluster, if one is asked for."""
    if given["address"] is None:
        yield None
        return
    if given["workers"] is not None:
        raise ConfigError("--workers are processes of this machine: leave it out with --address")
    from lnln_dist.clips.pool import CRASH
    from lnln_dist.sweep.tune.tasks import spread_over

    with spread_over(given["address"], target.parent) as spread:
        yield functools.partial(spread, crashed=CRASH)


def command(argv: Sequence[str]) -> int:
    """Extracts, and prints the import report."""
    given = parse(_parser(), argv)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from lnln_dist.clips.extract import extract_corpus
    from lnln_dist.data.presets import find_preset
    from lnln_dist.data.summary import describe

    corpus = Corpus(
        labels=Path(given["labels"]),
        clips=Path(given["clips"]),
        preset=find_preset(**dataset(given)),
        **taken(given, Corpus),
    )
    extractor = Extractor(**taken(given, Extractor))
    target, workers = Path(given["target"]), given["workers"]
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    console = Console(stderr=True)
    columns = ("clips", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        _cluster(given, target) as tasks,
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("clips", total=None)
        found = extract_corpus(
            corpus,
            target,
            extractor,
            workers=workers,
            tasks=tasks,
            overwrite=given["overwrite"],
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            tell=functools.partial(print, flush=True),
        )
    print(describe(found.index))
    if found.rejected:
        print(
            f"{len(found.rejected)} of {counted(found.rows, 'row')} left out: see "
            f"{given['target'].rstrip('/')}.rejected.csv"
        )
    return 0
