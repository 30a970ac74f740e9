"""What ``extract`` is asked for: every option once, with its default, its help and its checks."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

from lnln_dist.clips import audio, faces, openface
from lnln_dist.clips.labels import UTF_8
from lnln_dist.config import option
from lnln_dist.data.choices import Choices, cut_sd_option
from lnln_dist.data.presets import Preset
from lnln_dist.errors import ConfigError, DataError

MESH = ("geometry", "landmarks")
VISION = (*MESH, *openface.SETS, "none")
_WIDTHS = {"geometry": len(faces.GEOMETRY), "landmarks": 2 * faces.POINTS, "none": 1}


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """What is looked for in a clip; each field's metadata is its command line option."""

    audio: str = option(
        "sims",
        "sims (33 descriptors of CH-SIMS), sims-f0, log-mel, none, or of zero-crossings, mfcc, "
        "chroma, log-mel, f0 and loudness those wanted, joined by commas",
    )
    vision: str = option(
        "geometry",
        "geometry (19 angles and distances of the face) and landmarks (468 points) need "
        "launch/face_models.sh once; openface-units (35) and openface-sims (709) need OpenFace",
        choices=VISION,
    )
    # As many vision frames a second as CH-SIMS has: 30 pictures, three of them in one frame.
    pictures_per_s: float = option(10.0, "of geometry and landmarks", type=float)
    average: int = option(3, "frames of the video that OpenFace's become one", type=int)
    openface_csv: str | None = option(
        None, "VIDEO_ID/CLIP_ID.csv that OpenFace has written", metavar="FOLDER"
    )

    voice_only: bool = option(
        False,
        "frames of sound in which silero-vad hears nobody speak are missing, as pictures without "
        "a face are (needs the extra speech)",
    )
    transcribe: bool = option(
        False,
        "where neither label file nor subtitles say a text, it is recognised by Whisper (needs the "
        "extra speech); its words with their times are kept in OUT.words.jsonl",
    )

    def __post_init__(self) -> None:
        if self.audio != "none":
            audio.columns(self.audio)
        elif self.voice_only:
            raise ConfigError("--voice-only has no effect with --audio none")
        if self.vision not in VISION:
            raise ConfigError(f"--vision {self.vision}: choose {', '.join(VISION)}")
        if not 0 < self.pictures_per_s <= 120:
            raise ConfigError(f"--pictures-per-s {self.pictures_per_s}: between 0 and 120")
        if self.average < 1:
            raise ConfigError(f"--average {self.average}: at least 1")
        if self.openface_csv is not None and self.vision not in openface.SETS:
            raise ConfigError(
                f"--openface-csv has no effect with --vision {self.vision}: choose "
                f"{' or '.join(openface.SETS)}"
            )

    @property
    def opens_clips(self) -> bool:
        """Whether anything is looked for in clips; else there is text alone."""
        return (self.audio, self.vision, self.transcribe) != ("none", "none", False)

    @property
    def widths(self) -> dict[Literal["audio", "vision"], int]:
        """Features per frame; a modality that is not looked for has one, which is 0."""
        sound = 1 if self.audio == "none" else audio.width(audio.columns(self.audio))
        seen = _WIDTHS.get(self.vision)
        return {"audio": sound, "vision": seen or len(openface.SETS[self.vision])}

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> "Extractor":
        """As noted by ``features.facts``, but for recognition, which each clip asks for anew."""
        return cls(
            audio=settings["audio"],
            vision=settings["vision"],
            pictures_per_s=float(settings["pictures_per_s"]),
            average=int(settings["average"]),
            voice_only=settings.get("voice_only") == "True",
        )


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What is extracted, and what becomes of it; metadata as in ``Extractor``."""

    labels: Path
    clips: Path
    preset: Preset
    tokenizer: str = option(
        MISSING,
        "tokenise the texts with this BERT-type tokenizer (a folder or a hub name), or with "
        "`corpus`: a vocabulary made from the training sentences",
        metavar="PATH",
    )
    most_rejected: float = option(
        0.1,
        "of the rows; when more cannot be used nothing is written",
        type=float,
        metavar="SHARE",
    )
    cut_sd: float | None = cut_sd_option()
    encoding: str = option(
        UTF_8, "of the label file: utf-8-sig, utf-16, gb18030, cp1252, ...", metavar="E"
    )

    format: Literal["shards", "mmsa"] = option(
        "shards",
        "mmsa writes OUT as the pickle that MMSA's loader takes, with text_bert and text",
        choices=["shards", "mmsa"],
    )
    text_encoder: str | None = option(
        None,
        "whose last hidden states become the field text of mmsa: a folder, a hub name, or `tiny`, "
        "one with random weights (default: as --tokenizer, `tiny` for `corpus`)",
        metavar="PATH",
    )

    def __post_init__(self) -> None:
        if self.text_encoder is not None and self.format != "mmsa":
            raise ConfigError("--text-encoder has a meaning with --format mmsa only")
        if not 0 <= self.most_rejected <= 1:
            raise DataError(f"--most-rejected {self.most_rejected}: a share between 0 and 1")
        Choices(cut_sd=self.cut_sd)  # checks it, before hours of work
