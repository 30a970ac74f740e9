"""Settings of what goes into training: data and noise; no torch."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

Modality = Literal["text", "audio", "vision"]
MODALITIES: tuple[Modality, ...] = ("text", "audio", "vision")

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
NoiseMode = Literal["uniform", "fixed"]
NoisePattern = Literal["random", "block", "modality"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """Where the shards are and how they are read."""

    path: str = ""
    """Folder written by `lnln-dist prepare` (a local path or a file:// URI)."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes per rank, of training and of scoring; 0 loads in the process itself."""
    prefetch: Count = 4
    """Steps, with all their micro-batches, each loader process keeps ready (if workers > 0)."""
    pin_memory: bool = True
    """Page-locked host memory for faster copies; only acts where a GPU is used."""
    padding: Literal["batch", "corpus"] = "batch"
    """Pad to the longest sample of the micro-batch, or to the corpus maximum (released code)."""
    length_grouped: bool = False
    """Build global batches from samples of like length (less padding, another order)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModalityNoise:
    """Overrides of the shared noise settings for one modality; null inherits."""

    mode: NoiseMode | None = None
    """As `noise.mode`."""
    rate: Share | None = None
    """As `noise.rate`."""
    maximum: Share | None = None
    """As `noise.maximum`."""
    clean_share: Share | None = None
    """As `noise.clean_share`."""
    pattern: NoisePattern | None = None
    """As `noise.pattern`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoiseConfig:
    """Training noise: which share of every sequence is erased, drawn anew each epoch."""

    seed: Seed | None = None
    """Seed of the noise; null follows `train.seed`."""
    mode: NoiseMode = "uniform"
    """Rates of damaged samples: U(0, `maximum`), or always `rate`."""
    rate: Share | None = None
    """Missing rate in [0, 1] of damaged samples; for mode fixed only."""
    maximum: Share = 1.0
    """Upper end of the uniform rates in [0, 1]; for mode uniform only."""
    clean_share: Share = 0.5
    """Share of the samples left whole in each epoch, per modality, rounded down to a count."""
    pattern: NoisePattern = "random"
    """Erase independent places, one contiguous block, or (with probability rate) the modality."""
    completeness: Literal["nominal", "counted"] = "nominal"
    """Label of the completeness check: 1 - rate, or the counted share of kept text tokens."""
    text: ModalityNoise = ModalityNoise()
    """Overrides for text."""
    audio: ModalityNoise = ModalityNoise()
    """Overrides for audio."""
    vision: ModalityNoise = ModalityNoise()
    """Overrides for vision."""

    def of(self, modality: Modality) -> ModalityNoise:
        """The settings in force for one modality, nothing left null but an unused rate."""
        own: ModalityNoise = getattr(self, modality)
        names = ("mode", "rate", "maximum", "clean_share", "pattern")
        picked = {n: getattr(self, n) if (v := getattr(own, n)) is None else v for n in names}
        return ModalityNoise(**picked)

    @model_validator(mode="after")
    def _check(self) -> "NoiseConfig":
        for modality in MODALITIES:
            noise = self.of(modality)
            if noise.mode == "fixed" and noise.rate is None:
                raise ValueError(f"mode fixed needs a rate for {modality}: set noise.rate")
            if noise.mode == "uniform" and noise.rate is not None:
                raise ValueError(f"rate has no effect in mode uniform ({modality}): set mode fixed")
            if noise.mode == "fixed" and noise.maximum != 1.0:
                raise ValueError(f"maximum has no effect in mode fixed ({modality}): drop it")
        return self
