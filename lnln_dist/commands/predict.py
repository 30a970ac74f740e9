"""``lnln-dist predict``."""

from collections.abc import Sequence
from pathlib import Path

from lnln_dist.arguments import Parser
from lnln_dist.commands import make_parser, parse
from lnln_dist.console import counted


def _parser() -> Parser:
    parser = make_parser("predict", "Write a run's predictions for data as it is, no noise added.")
    parser.add_argument("run", metavar="RUN", help="run folder, or an exported model")
    parser.add_argument(
        "data",
        metavar="DATA",
        help="prepared folder; a feature file (path or fsspec URI) of any splits, with labels or "
        "without, even of a single clip; a clip (.mp4, .wav, ...) or a folder of them, for a run "
        "whose data were made by lnln-dist extract",
    )
    parser.add_argument("--output", required=True, metavar="FILE.csv", help="file to write")
    parser.add_argument("--split", help="split to predict (default: test, or the only one)")
    parser.add_argument("--checkpoint", default="best", help="which best checkpoint")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="also erase each modality (columns effect_*), each token and each tenth of the frames "
        "(FILE.explain.jsonl) in turn, and write how far the prediction moves",
    )
    parser.add_argument("--batch-size", type=int, default=128, help="samples per forward pass")
    parser.add_argument(
        "--encoding", default="utf-8", metavar="E", help="of byte strings in a feature file"
    )
    parser.add_argument(
        "--allow-cut",
        action="store_true",
        help="drop frames outside the lengths that a feature file gives instead of refusing it",
    )
    parser.add_argument("--text", help="what is said in the clip")
    parser.add_argument("--srt", metavar="FILE", help="its subtitles (default: those beside it)")
    parser.add_argument(
        "--transcribe",
        action="store_true",
        help="where no subtitles lie beside a clip, recognise what is said (extra speech)",
    )
    parser.add_argument(
        "--figure",
        metavar="FILE.png",
        help="draw what was heard, seen and said in the clip (or .pdf, .svg, .jpg, ...)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    return parser


def command(argv: Sequence[str]) -> int:
    """Writes predictions as CSV."""
    given = parse(_parser(), argv)
    from lnln_dist.clips.single import Spoken
    from lnln_dist.evaluate.single import predict_file
    from lnln_dist.runtime import Runtime

    runtime = Runtime(cpu=True if given["cpu"] else None)
    try:
        found = predict_file(
            Path(given["run"]),
            given["data"],
            output=Path(given["output"]),
            runtime=runtime,
            split=given["split"],
            spoken=Spoken(
                given["text"], Path(given["srt"]) if given["srt"] else None, given["transcribe"]
            ),
            figure=Path(given["figure"]) if given["figure"] else None,
            checkpoint=given["checkpoint"],
            batch_size=given["batch_size"],
            encoding=given["encoding"],
            allow_cut=given["allow_cut"],
            explain=given["explain"],
            overwrite=given["overwrite"],
        )
    finally:
        runtime.close()
    for note in found.notes:
        print(f"note: {note}")
    print(f"{given['output']}: {counted(len(found.table), 'prediction')} of {found.what}")
    if found.explained is not None:
        print(f"{found.explained}: what each token and each window of frames did, in JSON lines")
    return 0
