"""``lnln-dist extract``."""

import os
from collections.abc import Sequence
from pathlib import Path

from lnln_dist.commands import make_parser, parse
from lnln_dist.settings import Parser


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
    parser.add_argument(
        "--dataset", required=True, help="mosi, mosei, sims or an own name (see prepare)"
    )
    parser.add_argument(
        "--family", choices=["mosi", "sims"], help="how an own data set's scores are computed"
    )
    parser.add_argument(
        "--label-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of an own data set"
    )
    parser.add_argument(
        "--tokenizer",
        required=True,
        metavar="PATH",
        help="tokenise the texts with this BERT-type tokenizer (a folder or a hub name), or with "
        "`corpus`: a vocabulary made from the training sentences",
    )
    parser.add_argument(
        "--audio",
        default="sims",
        help="sims (33 descriptors of CH-SIMS), sims-f0, log-mel, none, or of zero-crossings, "
        "mfcc, chroma, log-mel, f0 and loudness those wanted, joined by commas",
    )
    parser.add_argument(
        "--vision",
        default="geometry",
        choices=["geometry", "landmarks", "openface-units", "openface-sims", "none"],
        help="geometry (19 angles and distances of the face) and landmarks (468 points) need "
        "launch/face_models.sh once; openface-units (35) and openface-sims (709) need OpenFace",
    )
    parser.add_argument(
        "--pictures-per-s", type=float, default=10.0, help="of geometry and landmarks"
    )
    parser.add_argument(
        "--average", type=int, default=3, help="frames of the video that OpenFace's become one"
    )
    parser.add_argument(
        "--openface-csv", metavar="FOLDER", help="VIDEO_ID/CLIP_ID.csv that OpenFace has written"
    )
    parser.add_argument(
        "--cut-sd",
        type=float,
        metavar="K",
        help="cut frames at mean + K standard deviations of the training split's lengths "
        "(published files: 3; default: not cut)",
    )
    parser.add_argument(
        "--most-rejected",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of the rows; when more cannot be used nothing is written (default 0.1)",
    )
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="replace prepared data in OUT")
    return parser


def command(argv: Sequence[str]) -> int:
    """Extracts, and prints the import report."""
    given = parse(_parser(), argv)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from lnln_dist.clips.extract import Corpus, extract_corpus
    from lnln_dist.clips.features import Extractor
    from lnln_dist.data.presets import find_preset
    from lnln_dist.data.summary import describe

    label_range = tuple(given["label_range"]) if given["label_range"] else None
    corpus = Corpus(
        labels=Path(given["labels"]),
        clips=Path(given["clips"]),
        preset=find_preset(given["dataset"], given["family"], label_range),
        tokenizer=given["tokenizer"],
        most_rejected=given["most_rejected"],
        cut_sd=given["cut_sd"],
    )
    extractor = Extractor(
        audio=given["audio"],
        vision=given["vision"],
        pictures_per_s=given["pictures_per_s"],
        average=given["average"],
        openface_csv=given["openface_csv"],
    )
    console = Console(stderr=True)
    columns = ("clips", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("clips", total=None)
        found = extract_corpus(
            corpus,
            Path(given["target"]),
            extractor,
            workers=given["workers"] or len(os.sched_getaffinity(0)),
            overwrite=given["overwrite"],
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(describe(found.index))
    if found.rejected:
        print(
            f"{len(found.rejected)} of {found.rows} rows left out: see "
            f"{given['target'].rstrip('/')}.rejected.csv"
        )
    return 0
