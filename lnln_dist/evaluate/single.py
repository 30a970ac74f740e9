"""Predictions of one run for one split of prepared data or of a feature file, as a CSV file."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lnln_dist.clips.single import Spoken, as_feature_file, check_figure, draw, find_clips
from lnln_dist.config import MODALITIES, Modality
from lnln_dist.console import counted
from lnln_dist.data.choices import UTF_8, Choices, TextChoice
from lnln_dist.data.convert import write_shards
from lnln_dist.data.foreign import listed, split_name
from lnln_dist.data.mmsa import LABELS, FeatureFile, RawFile, RawSplit, read_features
from lnln_dist.data.noise import CleanNoise
from lnln_dist.data.presets import PRESETS, Preset
from lnln_dist.data.repair import TokensError, one_per_sample, sample_shape
from lnln_dist.data.schema import FRAMES, INDEX, SPLITS, Index, SourceInfo, SplitName
from lnln_dist.data.shards import ShardedDataset
from lnln_dist.data.source import local_path
from lnln_dist.data.summary import MARKED, in_words, never_there
from lnln_dist.data.values import label_numbers
from lnln_dist.errors import DataError, UserError
from lnln_dist.evaluate.cases import Case, open_cases, predict_case
from lnln_dist.evaluate.compatible import check_compatible, other_code
from lnln_dist.evaluate.explain import Plan
from lnln_dist.evaluate.load import load_model
from lnln_dist.files import atomic_file, atomic_write
from lnln_dist.metrics import LABEL_RANGE
from lnln_dist.runs import Run, RunInfo
from lnln_dist.runtime import Runtime
from lnln_dist.vocabulary import TokenizerInfo, finder, read_tokenizer

# The split to predict if nothing is said, and the name a file's split is stored under.
SPLIT: SplitName = "test"
EXPLAINED = ".explain.jsonl"


class Predicted(NamedTuple):
    """What was written, and what a reader of it should know."""

    table: pd.DataFrame
    what: str  # was predicted: a split, a clip or clips, in words
    notes: list[str]
    explained: Path | None  # what each place did, one line of JSON per sample


class _Opened(NamedTuple):
    """A run with the samples to predict."""

    case: Case
    split: str  # its name in the file
    seconds_N: NDArray[np.float64] | None  # length of each clip, nan where unknown


def predict_file(
    run: Path,
    data: str | Path,
    *,
    output: Path,
    runtime: Runtime,
    split: str | None = None,
    spoken: Spoken | None = None,
    figure: Path | None = None,
    checkpoint: str = "best",
    batch_size: int = 128,
    encoding: str = UTF_8,
    allow_cut: bool = False,
    explain: bool = False,
    overwrite: bool = False,
) -> Predicted:
    """Predicts a split without added noise; call it on all ranks.

    Args:
        run: run folder.
        data: prepared data, a feature file with or without labels and splits (a path or URI), a
            clip, or a folder of clips.
        output: CSV file to write: id, label (empty where there is none), prediction, and what the
            model tells beside it.
        runtime: this process and its peers.
        split: the split to predict; None: test, or else the only one there.
        spoken: what is said in a clip.
        figure: picture to write of a single clip: what was heard, seen and said; its suffix says
            of what kind.
        checkpoint: name of a best checkpoint.
        batch_size: samples per forward pass and rank.
        encoding: of byte strings in a feature file.
        allow_cut: where a feature file's frames contradict their lengths, drop what lies outside.
        explain: also say how much each modality did, in columns, and each place, in a file beside
            ``output`` (see ``evaluate.explain``).
        overwrite: replace an existing file.

    Raises:
        UserError: run or data cannot be used, they do not fit, or a file cannot be written.
    """
    if not output.name:
        raise UserError(f"--output {output}: name a file, such as predictions.csv")
    places = output.with_suffix(EXPLAINED) if explain else None
    _check_outputs(output, places, figure, overwrite=overwrite)
    own, clips = Run(run), _clips(data)
    if figure is not None and len(clips) != 1:
        raise UserError("--figure draws a single clip: give one (.mp4, .wav, ...) as DATA")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if clips or not _is_prepared(data):
            file = _read(own, data, clips, spoken or Spoken(), encoding)
            opened = _file_case(
                own, *file, str(data), folder, split, allow_cut=allow_cut, extracted=bool(clips)
            )
        elif encoding != UTF_8 or allow_cut:
            raise UserError(
                f"{data} is prepared already: --encoding and --allow-cut are for feature files"
            )
        else:
            opened = _prepared_case(own, data, split, checkpoint)
        table, records = _outputs(opened, runtime, checkpoint, batch_size, explain=explain)
        if figure is not None:
            runtime.on_main(lambda: _draw(clips[0], table, opened.case, figure))
    if places is not None:
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        runtime.on_main(lambda: atomic_write(places, lines))
    text = table.to_csv(index=False, lineterminator="\n")
    runtime.on_main(lambda: atomic_write(output, text))
    of_clips = clips[0].name if len(clips) == 1 else f"the clips in {data}"
    what = of_clips if clips else f"split {listed([opened.split])}"
    return Predicted(table, what, opened.case.notes, places)


def _prepared_case(run: Run, data: str | Path, split: str | None, checkpoint: str) -> _Opened:
    split = split_name(split or SPLIT, SPLITS)
    (case,) = open_cases([run.folder], data=str(data), split=split, checkpoint=checkpoint)
    return _Opened(case, split, None)


def _outputs(
    opened: _Opened, runtime: Runtime, checkpoint: str, batch_size: int, *, explain: bool
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The table, and the records of what each place did, if asked for."""
    case = opened.case
    model, note = load_model(case.run, checkpoint)
    plan = Plan(case.split) if explain else None
    found = predict_case(
        case,
        model.to(runtime.device),
        plan.noises if plan else [CleanNoise()],
        runtime=runtime,
        batch_size=batch_size,
        thresholds=note.get("thresholds"),
    )
    effects = plan.effects(found) if plan else {}
    table = pd.DataFrame(
        {
            "id": list(case.split.ids),
            "label": np.array(case.split.labels),
            "prediction": found[0].sentiment,
            **found[0].extras,
            **effects,
        }
    )
    words = words_of(case.run) if plan else {}
    return table, plan.records(found, words, opened.seconds_N) if plan else []


def _clips(data: str | Path) -> list[Path]:
    """The clips that are to be predicted; none if it is features.

    Raises:
        DataError: there is nothing.
    """
    place = local_path(data)
    if place is None or (place / INDEX).is_file():
        return []
    if not place.exists():
        raise DataError(f"{data}: no such folder or file")
    return find_clips(place)


def _is_prepared(data: str | Path) -> bool:
    place = local_path(data)
    return place is not None and not place.is_file()


def _check_outputs(
    output: Path, places: Path | None, figure: Path | None, *, overwrite: bool
) -> None:
    if output.suffix.lower() not in ("", ".csv", ".txt"):
        raise UserError(f"--output {output}: what is written is CSV: end its name in .csv")
    if figure is not None:
        check_figure(figure)
    for path in (output, places, figure):
        if path is not None and path.exists() and not overwrite:
            raise UserError(f"{path} exists: choose another file, remove it or pass --overwrite")


def words_of(run: Run) -> dict[int, str]:
    """The tokens of a run's vocabulary by id; empty if its tokenizer is not known.

    Raises:
        DataError: the tokenizer's files are damaged.
    """
    backend = read_tokenizer(str(run.encoder_folder), finder(run.encoder_folder))
    return {} if backend is None else {i: word for word, i in backend.get_vocab().items()}


def _draw(clip: Path, table: pd.DataFrame, case: Case, target: Path) -> None:
    told = [f"{name} {value:.2f}" for name, value in table.iloc[0, 2:].items()]
    settings = (case.run.info.extraction or {}).get("settings", {})
    with atomic_file(target) as pending:
        draw(
            clip,
            case.split.frames("vision", 0),
            f"{clip.name}: {', '.join(told)}",
            case.split.raw_text(0),
            pending,
            kind=target.suffix[1:].lower(),
            left_out=[m for m in FRAMES if settings.get(m) == "none"],
        )


def _read(
    run: Run, data: str | Path, clips: list[Path], spoken: Spoken, encoding: str
) -> tuple[FeatureFile, list[str]]:
    if not clips:
        if spoken != Spoken():
            raise UserError(
                f"{data}: --text, --srt and --transcribe are for clips (.mp4, .wav, ...)"
            )
        return read_features(data, encoding=encoding), []
    place = Path(data)
    return as_feature_file(
        clips,
        place.parent if place.is_file() else place,
        run.info.extraction,
        spoken=spoken,
        workers=len(os.sched_getaffinity(0)),
    )


def _file_case(
    run: Run,
    file: FeatureFile,
    notes: list[str],
    data: str,
    folder: Path,
    split: str | None,
    *,
    allow_cut: bool,
    extracted: bool,
) -> _Opened:
    """A split of a feature file, prepared for a run in ``folder``; ``notes`` are gone on with."""
    split = _choose_split(file, split)
    raw = file.take(split)
    if split != SPLIT:
        notes.append(f"the file has no split {SPLIT}: predicting {listed([split])}")
    _check_widths(run, raw, data)
    seconds_N = _seconds(raw, data)
    notes += _only_the_label(raw, data)
    notes += _to_the_unit_of(run.info, raw)
    # The other splits' memory is free from here on.
    source = file.source
    del file
    index, text_note = _prepare(source, raw, folder, run, data, allow_cut=allow_cut)
    # What is cut is told in the run's terms.
    repaired = in_words(index, SPLIT, unsaid=("cut", *MARKED) if extracted else ("cut",))
    as_trained = index.model_copy(update={"extraction": run.info.extraction})
    lacking = never_there(as_trained, SPLIT) if extracted else []
    notes += [*text_note, *repaired, *_cut_notes(index), *lacking]
    dataset = ShardedDataset(folder, index)
    check_compatible(run, dataset, SPLIT)
    notes += other_code(run)
    case = Case(
        name=run.folder.name,
        run=run,
        data=data,
        index=index,
        split=dataset.split(SPLIT),
        notes=notes,
        checkpoints={},
    )
    return _Opened(case, split, seconds_N)


def _seconds(raw: RawSplit, name: str) -> NDArray[np.float64] | None:
    """Length of each clip as the file gives it."""
    if raw.seconds is None:
        return None
    seconds_N = one_per_sample(raw.seconds, where=f"{name}: seconds").astype(np.float64)
    if len(seconds_N) != len(raw.ids) or (seconds_N <= 0).any():
        raise DataError(f"{name}: seconds: one length above 0 per sample is needed")
    return seconds_N


def _choose_split(file: FeatureFile, wanted: str | None) -> str:
    names = list(file.splits)
    if not names:
        raise DataError(
            f"{file.name}: neither splits nor the fields audio and vision (found: {file.found})"
        )
    if wanted is not None and (wanted := split_name(wanted, names)) not in names:
        raise DataError(f"{file.name}: no split {wanted}: choose one of {listed(names)}")
    if wanted is None and SPLIT not in names and len(names) > 1:
        raise DataError(f"{file.name}: no split {SPLIT}: choose one with --split: {listed(names)}")
    return wanted or (SPLIT if SPLIT in names else names[0])


def _check_widths(run: Run, raw: RawSplit, name: str) -> None:
    widths = {"audio": run.info.shapes.audio_width, "vision": run.info.shapes.vision_width}
    for m in FRAMES:
        shape = sample_shape(raw.frames[m], where=f"{name}: {m}")
        if len(shape) == 2 and shape[1] != widths[m]:
            raise DataError(
                f"{name}: {m} frames have {shape[1]} features, {run.folder} was trained with "
                f"{widths[m]}: extract them as for the training data"
            )


def _only_the_label(raw: RawSplit, name: str) -> list[str]:
    """Leaves a split with one label column, NaN where there is no number; says why."""
    values, notes = raw.labels.get("label"), []
    raw.labels = {"label": np.full(len(raw.ids), np.nan)}
    if values is not None:
        try:
            where = f"{name}: {LABELS['label']}"
            raw.labels["label"] = label_numbers(values, ids=raw.ids, column=None, where=where)
        except DataError as err:
            notes.append(f"the label column stays empty: {err}")
    return notes


def _to_the_unit_of(info: RunInfo, raw: RawSplit) -> list[str]:
    """Gives a file's labels the unit of a run's predictions, or leaves them out; says so."""
    label_N, (low, high) = raw.labels["label"], info.label_range
    if np.isnan(label_N).all():
        return []
    if info.rescaled_from is not None:
        raw.labels["label"] = _preset(info, info.rescaled_from).rescale(label_N)
        least, most = info.rescaled_from
        return [
            f"labels are rescaled linearly from [{least:g}, {most:g}] to [{low:g}, {high:g}], as "
            "for the run"
        ]
    # The public sets are never rescaled, nor is what the released code was trained on.
    settled = info.rescaling_known or info.dataset in PRESETS or info.origin == "imported"
    if settled or info.label_range != LABEL_RANGE[info.family]:
        return []
    raw.labels["label"] = np.full(len(label_N), np.nan)
    return [
        "the label column stays empty: the run is of an earlier version, which did not note "
        f"whether its labels were rescaled to [{low:g}, {high:g}]"
    ]


def _preset(
    info: RunInfo, label_range: tuple[float, float], tokenizer: TokenizerInfo | None = None
) -> Preset:
    return Preset(
        dataset=info.dataset, family=info.family, label_range=label_range, tokenizer=tokenizer
    )


def _prepare(
    source: SourceInfo, split: RawSplit, folder: Path, run: Run, name: str, *, allow_cut: bool
) -> tuple[Index, list[str]]:
    """Prepares a split for a run, with token ids of the run's tokenizer and its places.

    The file's own ids are taken where they are that tokenizer's: for a checkpoint of the
    released code, which knows no others, and where a public data set's tokenizer is the run's.
    Else, or where they prove to be another's, its sentences are tokenised; without sentences the
    ids must look like the run's.
    """
    info, preset = run.info, PRESETS.get(run.info.dataset)
    own = preset.tokenizer if preset else None
    known = info.vocab_sha256 is None or info.vocab_sha256 == (own and own.vocab_sha256)
    limits: dict[Modality, int] = {m: info.shapes.length(m) for m in MODALITIES}

    def write(text_source: TextChoice, tokenizer: str | None) -> Index:
        index = write_shards(
            RawFile(source=source, splits={SPLIT: split}),
            folder,
            _preset(info, info.label_range, own),
            Choices(
                tokenizer=tokenizer,
                text_source=text_source,
                max_lengths=limits,
                allow_cut=allow_cut,
            ),
            name=name,
            check=False,
        )
        # Padding ``corpus`` pads to the run's places, however short the file's sequences are.
        return index.model_copy(
            update={"padded_lengths": limits, "rescaled_from": info.rescaled_from}
        )

    encoder, sentences = str(run.encoder_folder), "raw_text" not in split.unusable
    unusable = split.unusable.get("text_bert")
    ours = known or info.origin == "imported"
    if split.text_bert is not None and (ours or not sentences):
        notes = ["text_bert is taken for ids of the run's tokenizer: there is no raw_text"]
        try:
            return write("text_bert", None if known and own else encoder), [] if ours else notes
        except TokensError as err:
            shutil.rmtree(folder)
            folder.mkdir()
            if not sentences:
                raise DataError(
                    f"{err.problem}: predict with the sentences as raw_text, or with a run of that "
                    "tokenizer"
                ) from err
            unusable = err.problem
    return write("raw_text", encoder), [f"text_bert is not used: {unusable}"] if unusable else []


def _cut_notes(index: Index) -> list[str]:
    return [
        f"{counted(count, 'sample')} {'has' if count == 1 else 'have'} more {m} than the "
        f"{index.padded_lengths[m]} places the run takes: their ends were cut off"
        for m in MODALITIES
        if (count := index.repairs[SPLIT].get(f"{m}.cut"))
    ]
