"""Clips to be predicted, as a feature file of one split; and a picture of what was there."""

import hashlib
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnln_dist.clips import features, media
from lnln_dist.clips.choices import Extractor
from lnln_dist.clips.features import Features, Job
from lnln_dist.clips.labels import MEDIA, SUBTITLES
from lnln_dist.clips.pool import Progress, run_all
from lnln_dist.clips.transcript import read_subtitles
from lnln_dist.data.choices import UTF_8
from lnln_dist.data.mmsa import FeatureFile
from lnln_dist.data.schema import SourceInfo
from lnln_dist.data.values import ID_PARTS
from lnln_dist.errors import DataError, UserError

SPLIT = "test"
_SOUND_RATE, _DRAWN_SAMPLES = 8000, 160  # of the drawn envelope: Hz, and samples per point
_DRAWN_TEXT = 110  # characters


class Spoken(NamedTuple):
    """What is said in a clip that is given by itself."""

    text: str | None = None
    subtitles: Path | None = None
    """None: those beside the clip."""
    transcribe: bool = False
    """Recognise it where nothing says it."""

    def check(self, clips: int) -> None:
        """Refuses what contradicts itself.

        Raises:
            UserError: two texts of a clip, or one of several.
        """
        one = [self.text is not None, self.subtitles is not None]
        if sum([*one, self.transcribe]) > 1:
            raise UserError("--text, --srt and --transcribe each say what is said: give one")
        if any(one) and clips > 1:
            raise UserError("--text and --srt are for one clip: put a .srt beside each of several")

    def known(self, clip: Path) -> str | None:
        """The text of a clip as it is given or lies beside it; None if it does not.

        Raises:
            DataError: its subtitles cannot be read.
        """
        if self.text is not None:
            return self.text
        beside = (clip.with_suffix(suffix) for suffix in SUBTITLES)
        found = self.subtitles or next((path for path in beside if path.is_file()), None)
        return None if found is None else read_subtitles(found)


def find_clips(path: Path) -> list[Path]:
    """The media files meant by a path: itself, or those below a folder in order of their names."""
    if path.is_file():
        return [path] if path.suffix.lower() in MEDIA else []
    found = [p for p in path.rglob("*") if p.suffix.lower() in MEDIA and p.is_file()]
    # Of several kinds of one name the first is taken, as ``extract`` does.
    return sorted(found, key=lambda p: (p.with_suffix(""), MEDIA.index(p.suffix.lower())))


def _id(clip: Path, root: Path) -> str:
    """As ``extract`` names it: VIDEO$_$CLIP, the video being the folder that the clip is in."""
    video = clip.parent.relative_to(root)
    return f"{video.as_posix() if video.parts else root.resolve().name}{ID_PARTS}{clip.stem}"


def as_feature_file(
    clips: Sequence[Path],
    root: Path,
    extraction: Mapping[str, Mapping[str, str]] | None,
    *,
    spoken: Spoken = Spoken(),  # noqa: B008 - it does not change
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[FeatureFile, list[str]]:
    """Extracts clips as a run's training data were.

    Args:
        clips: media files.
        root: folder of the videos: ids are VIDEO$_$CLIP, as of ``extract``; clips that lie in it
            itself are of the video that has its name.
        extraction: of the run (``RunInfo.extraction``).
        spoken: what is said.
        workers: processes.
        progress: called with clips done and clips in all.

    Returns:
        The file, and what a reader should know: clips left out, other versions of the tools.

    Raises:
        DataError: none of the clips can be read, or the run's data were not extracted here.
        UserError: a library is missing.
    """
    spoken.check(len(clips))
    extractor, notes = _as_trained(extraction, transcribe=spoken.transcribe)
    with tempfile.TemporaryDirectory() as folder:
        jobs: dict[str, Job] = {}
        texts: dict[str, str | None] = {}
        for k, clip in enumerate(clips):
            name = _id(clip, root)
            if name in jobs:
                notes.append(f"{clip}: left out: another file of the clip {name} was taken")
                continue
            texts[name] = known = spoken.known(clip)
            target = Path(folder) / f"{k}.safetensors"
            jobs[name] = Job(name, clip, None, target, says_text=known is not None)
        failed = run_all(list(jobs.values()), extractor, workers=workers, progress=progress)
        notes += [f"{name}: left out: {reason}" for name, reason in failed.items()]
        kept = {name: job for name, job in jobs.items() if name not in failed}
        if not kept:
            raise DataError(notes[-1] if notes else "no clip")
        found = [features.read(job.target) for job in kept.values()]
    said = [
        one.text if (known := texts[name]) is None else known
        for name, one in zip(kept, found, strict=True)
    ]
    if spoken.transcribe and len(kept) == 1 and said[0]:
        notes.append(f"heard: {said[0]}")
    took_s = [media.duration(job.media) if job.media else 0.0 for job in kept.values()]
    fields = {"id": list(kept), "raw_text": said, **_frames(found, extractor)}
    fields["seconds"] = [s or float("nan") for s in took_s]
    parts = (part for one in found for part in (one.audio_TD, one.vision_TD))
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    source = SourceInfo(name=root.name, sha256=digest, bytes=sum(c.stat().st_size for c in clips))
    splits: dict[str, Any] = {SPLIT: fields}
    return FeatureFile(str(root), source, splits, "clips", UTF_8), notes


def _as_trained(
    extraction: Mapping[str, Mapping[str, str]] | None, *, transcribe: bool
) -> tuple[Extractor, list[str]]:
    """The extractor of a run, and which tools have other versions here."""
    if extraction is None:
        raise UserError(
            "the run was trained on features that were not extracted from clips here: give a "
            "feature file made as its own was"
        )
    extractor = replace(Extractor.of(extraction["settings"]), transcribe=transcribe)
    features.check(extractor)
    here = features.facts(extractor)["versions"]
    return extractor, [
        f"{name} {here[name]} here, {theirs} when the run's data were extracted"
        for name, theirs in extraction["versions"].items()
        if here.get(name, theirs) != theirs
    ]


def _frames(found: Sequence[Features], extractor: Extractor) -> dict[str, list[Any]]:
    """Frames of each clip; one without any has one that is zero, as in feature files."""
    out: dict[str, list[Any]] = {}
    for m, width in extractor.widths.items():
        out[m] = features.dense([getattr(one, f"{m}_TD") for one in found], width)
        out[f"{m}_lengths"] = [len(part) for part in out[m]]
    return out


def check_figure(target: Path) -> None:
    """Refuses a picture of a kind that cannot be drawn.

    Raises:
        UserError: its suffix is none that matplotlib writes.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = set(FigureCanvasBase.get_supported_filetypes()) - {"pgf"}  # which asks for TeX
    if target.suffix[1:].lower() not in kinds:
        raise UserError(f"--figure {target}: choose a suffix of .{', .'.join(sorted(kinds))}")


def draw(
    clip: Path,
    vision_TD: NDArray[np.float32],
    title: str,
    text: str,
    target: Path,
    *,
    kind: str = "png",
    left_out: Collection[str] = (),
) -> None:
    """A small picture of what was heard, seen and said over the time of a clip.

    Args:
        clip: media file.
        vision_TD: its vision frames; those without a face are zero.
        title: above it, such as the prediction.
        text: what was said.
        target: file to write.
        kind: of picture, as matplotlib calls it.
        left_out: ``audio`` or ``vision``, if the run does not look for it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    heard, seen = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    sound_S = None if "audio" in left_out else media.read_audio(clip, _SOUND_RATE)
    if sound_S is None or not len(sound_S):
        why = "not looked for" if "audio" in left_out else "no sound track"
        heard.text(0.5, 0.5, why, ha="center", transform=heard.transAxes)
    else:
        parts = np.array_split(np.abs(sound_S), max(1, len(sound_S) // _DRAWN_SAMPLES))
        envelope = np.array([part.max() for part in parts])
        at_s = np.linspace(0, len(sound_S) / _SOUND_RATE, len(envelope))
        heard.fill_between(at_s, -envelope, envelope, linewidth=0)
    found_T = np.asarray(vision_TD.any(axis=1))
    if found_T.any():
        extent = (0, media.duration(clip), 0, 1)
        seen.imshow(found_T[None], extent=extent, aspect="auto", cmap="Greys", vmin=-0.2, vmax=1.4)
        seen.set_title(f"face found in {found_T.mean():.0%} of it", fontsize=8, loc="left")
    else:
        why = "not looked for" if "vision" in left_out else "no face"
        seen.text(0.5, 0.5, why, ha="center", va="center", transform=seen.transAxes)
    for axes, name in ((heard, "sound"), (seen, "face")):
        axes.set_yticks([])
        axes.set_ylabel(name)
    seen.set_xlabel("seconds")
    said = text if len(text) <= _DRAWN_TEXT else f"{text[: _DRAWN_TEXT - 3]}..."
    heard.set_title(f"{title}\n{said or '(no text)'}", fontsize=9, loc="left")
    figure.savefig(target, dpi=120, format=kind)
