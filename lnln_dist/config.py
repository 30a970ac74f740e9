"""Every setting of a run: typed, frozen, checked; no torch.

``paper`` values are the defaults. What depends on the model chosen by ``model.name`` (its
settings and its loss weights) is in ``specs``; reading, overriding and hashing in ``settings.py``.
"""

from dataclasses import MISSING, field, fields
from typing import Annotated, Any, Literal

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
Spans = Annotated[int, Field(ge=1, le=64)]  # each is drawn on its own
NoiseMode = Literal["uniform", "fixed"]
NoisePattern = Literal["random", "block", "modality"]
Place = Literal["anywhere", "start", "middle", "end"]
Kind = Literal["regression", "three-class", "five-class", "seven-class"]
CLASSES: dict[Kind, int] = {"three-class": 3, "five-class": 5, "seven-class": 7}


def option(default: Any, text: str, **how: Any) -> Any:
    """A dataclass field that is a command line option: its metadata are argparse's arguments.

    ``MISSING`` is the default of one that has to be given.
    """
    if default is False:
        how["action"] = "store_true"
    asked = {"required": True} if default is MISSING else {"default": default}
    return field(default=default, metadata={"help": text, **asked, **how})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """Where the shards are and how they are read."""

    path: str = ""
    """Folder written by `lnln-dist prepare`: a path, or a URI (s3://, ...) copied once per host."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes per rank, of training and of scoring; 0 loads in the process itself."""
    prefetch: Count = 4
    """Steps, with all their micro-batches, each loader process keeps ready (if workers > 0)."""
    pin_memory: bool = True
    """Page-locked host memory for faster copies; only acts where a GPU is used."""
    padding: Literal["batch", "corpus"] = "batch"
    """Pad to the longest sample of the micro-batch, or to the corpus maximum (released code)."""
    normalise: bool = False
    """Frames minus the mean of their feature, over its standard deviation; both of the training
    split's frames that are not zero. Zero frames stay zero, and so do erased ones: the mean."""
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
    place: Place | None = None
    """As `noise.place`."""
    spans: Spans | None = None
    """As `noise.spans`."""


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
    """Erase independent places, contiguous blocks, or (with probability rate) the modality."""
    place: Place = "anywhere"
    """Where a block lies; for pattern block only."""
    spans: Spans = 1
    """Blocks per sequence, one in each of as many equal parts; for pattern block only."""
    shared: bool = False
    """Erase the frames of the erased tokens (by relative time), at the text's rate."""
    completeness: Literal["nominal", "counted"] = "nominal"
    """Label of the completeness check: 1 - rate (times the share of the text that was there before
    any noise), or the counted share of kept text tokens."""
    text: ModalityNoise = ModalityNoise()
    """Overrides for text."""
    audio: ModalityNoise = ModalityNoise()
    """Overrides for audio."""
    vision: ModalityNoise = ModalityNoise()
    """Overrides for vision."""

    def of(self, modality: Modality) -> ModalityNoise:
        """The settings in force for one modality, nothing left null but an unused rate."""
        own: ModalityNoise = getattr(self, modality)
        names = [field.name for field in fields(ModalityNoise)]
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
            if noise.pattern != "block" and (noise.place, noise.spans) != ("anywhere", 1):
                raise ValueError(
                    f"place and spans have no effect in pattern {noise.pattern} ({modality}): set "
                    "pattern block"
                )
            if self.shared and getattr(self, modality) != ModalityNoise():
                raise ValueError(f"shared gives {modality} the noise of the text: drop {modality}")
        if self.shared and self.pattern == "modality":
            raise ValueError("shared needs places: set pattern random or block")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TaskConfig:
    """What is predicted of a sample."""

    kind: Kind = "regression"
    """The sentiment as a number, or its class among those of acc3, acc5 or acc7."""
    class_weights: Literal["none", "balanced"] = "none"
    """Count every training sample the same in the loss, or every class."""
    decision: Literal["thresholds", "argmax"] = "thresholds"
    """By thresholds for the best macro-F1 on the validation grid, or for the likeliest class."""

    @property
    def classes(self) -> int:
        """How many classes there are; 0 for a number."""
        return CLASSES.get(self.kind, 0)

    @model_validator(mode="after")
    def _check(self) -> "TaskConfig":
        for name in ("class_weights", "decision"):
            default = TaskConfig.__dataclass_fields__[name].default
            if not self.classes and getattr(self, name) != default:
                raise ValueError(f"{name} has no effect on kind regression: drop it")
        return self


REGRESSION = TaskConfig()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EncoderConfig:
    """The text encoder."""

    name: str = "bert-base-uncased"
    """Hugging Face name or local folder of a BERT-type encoder; `tiny` makes a small random one."""
    freeze: Literal["none", "embeddings", "all"] = "none"
    """Which part of the encoder is not trained."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout inside the encoder; null keeps what its config says (BERT: 0.1)."""
    tiny_width: Count = 64
    """Hidden width of the `tiny` encoder."""
    tiny_depth: Count = 2
    """Layers of the `tiny` encoder."""
    tiny_heads: Count = 4
    """Attention heads of the `tiny` encoder."""
    checkpoint_activations: bool = False
    """Compute the encoder's activations again in the backward pass: less memory, more time."""

    @model_validator(mode="after")
    def _check(self) -> "EncoderConfig":
        if not self.name:
            raise ValueError("name is empty: give a Hugging Face name, a folder, or tiny")
        if self.checkpoint_activations and self.freeze == "all":
            raise ValueError("checkpoint_activations has no effect on a frozen encoder: drop it")
        if self.tiny_width % self.tiny_heads:
            raise ValueError(
                f"tiny_heads {self.tiny_heads} must divide tiny_width {self.tiny_width}"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """Settings that every model has; a model's own class adds to them (``specs``)."""

    name: str = "lnln"
    """Which model (the README lists them), or your own as `package.module:SPEC` (a `ModelSpec`)."""
    encoder: EncoderConfig = EncoderConfig()
    """The text encoder."""

    @property
    def hides_padding(self) -> bool:
        """Whether a prediction is the same however far its sequences are padded.

        That is ``mask_padding`` where a model has that switch.
        """
        return bool(getattr(self, "mask_padding", True))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LossConfig:
    """Weights of a model's loss terms, a number per term (no unit)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimConfig:
    """AdamW, its schedule and clipping."""

    lr: Positive = 1e-4
    """Peak learning rate."""
    encoder_lr: Positive | None = None
    """Peak learning rate of the text encoder; null is `optim.lr`."""
    weight_decay: NotNegative = 1e-4
    """Decoupled weight decay."""
    decay_all: bool = False
    """Decay biases, norms and learned tokens too (released code)."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """First moment decay."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Second moment decay."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""
    schedule: Literal["cosine", "official", "constant"] = "cosine"
    """Warm-up and cosine per step; the released code's, per epoch; or constant after warm-up."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the training spent warming up (official: fixed at 0.1)."""
    clip_norm: NotNegative = 1.0
    """Largest gradient norm; 0 does not clip (released code)."""

    @property
    def steady(self) -> bool:
        """Whether no step's rate depends on the length of the training, which may then grow."""
        return self.schedule == "constant" and self.warmup_share == 0

    @model_validator(mode="after")
    def _check(self) -> "OptimConfig":
        if self.schedule == "official" and self.warmup_share != 0.1:
            raise ValueError("warmup_share is fixed at 0.1 by schedule official: drop it")
        return self


Strategy = Literal["ddp", "zero1", "zero2", "zero3", "fsdp2"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig:
    """Length, batch, precision and checkpoints of a run."""

    seed: Seed = 1111
    """Seed of weights, order, noise and dropout."""
    epochs: Count = 200
    """Passes over the training split."""
    order: Literal["joint", "alternating"] = "joint"
    """All losses in one pass an epoch, or the model's passes in turn, an optimizer for each."""
    batch_size: Count = 64
    """Samples per optimizer step over all processes."""
    micro_batch: Count | None = None
    """Samples per forward pass and process; null: one pass. Gradients accumulate over the rest."""
    auto_micro_batch: bool = False
    """Find the largest micro-batch that fits the memory; the global batch stays the same."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass; fp16 needs a GPU."""
    strategy: Literal["auto", Strategy] = "auto"
    """How the model is spread over processes; auto: as the launcher asks, DDP if it does not."""
    offload: bool = False
    """ZeRO with the optimizer's state in host memory (a launcher may ask for it, too)."""
    keep_checkpoints: Count = 2
    """Newest checkpoints kept for resuming (the best one is kept apart)."""
    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    """Also checkpoint every so many steps within an epoch; 0: at the end of each epoch only."""
    log_steps: Count = 10
    """Steps between two lines of the log."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after so many epochs without a better validation score; 0 never stops early."""
    timeout_s: Count = 600
    """Seconds after which a process that waits for another one gives the run up."""
    profile_steps: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None = None
    """Start and stop (excluded) of the optimizer steps traced into RUN/profile; null: none."""

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if self.auto_micro_batch and self.micro_batch is not None:
            raise ValueError("auto_micro_batch finds micro_batch itself: drop one of the two")
        if self.offload and self.strategy in ("ddp", "fsdp2"):
            raise ValueError(f"offload has no effect with strategy {self.strategy}: use zero2")
        if self.precision == "fp16" and self.strategy not in ("auto", "ddp"):
            raise ValueError(f"precision fp16 works with strategy ddp only, not {self.strategy}")
        if self.order == "alternating" and self.strategy not in ("auto", "ddp"):
            raise ValueError(f"order alternating works with strategy ddp, not {self.strategy}")
        if self.order == "alternating" and self.auto_micro_batch:
            raise ValueError(
                "auto_micro_batch does not count the second optimizer of order alternating: give "
                "micro_batch"
            )
        if self.profile_steps is not None and not self.profile_steps[0] < self.profile_steps[1]:
            raise ValueError(f"profile_steps {list(self.profile_steps)}: stop must follow start")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SelectConfig:
    """How the best checkpoint is chosen (reports name the split)."""

    split: Literal["valid", "test"] = "valid"
    """Split that chooses; test is the released code's habit and is reported as such."""
    rates: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.0, 0.2, 0.4, 0.6, 0.8)
    """Missing rates of the fixed noise grid scored after each epoch."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1,)
    """Noise seeds of that grid."""
    noise: Literal["paper", "official"] = "paper"
    """Noise stream of that grid."""
    metric: str = "mae"
    """Score, averaged over the grid, that picks the best checkpoint."""
    per_metric: bool = False
    """Also keep one best checkpoint for every metric (released code)."""
    batch_size: Count = 128
    """Samples per forward pass and process when scoring."""

    @model_validator(mode="after")
    def _check(self) -> "SelectConfig":
        for name in ("rates", "seeds"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"{name} {list(given)}: one is given twice")
        if self.noise == "official" and max(self.seeds) >= 2**32:
            raise ValueError("seeds of noise official lie in [0, 2**32)")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """A run of lnln_dist; ``specs.registry.config_class`` makes the class of one model's runs."""

    recipe: Literal["paper", "official", "custom"] = "paper"
    """Protocol that reports name; settings that contradict it are refused. custom promises none."""
    data: DataConfig = DataConfig()
    """Shards and loading."""
    noise: NoiseConfig = NoiseConfig()
    """Training noise."""
    task: TaskConfig = REGRESSION
    """What is predicted."""
    model: ModelConfig
    """Network."""
    loss: LossConfig
    """Weights of the model's loss terms."""
    optim: OptimConfig = OptimConfig()
    """Optimizer."""
    train: TrainConfig = TrainConfig()
    """Training."""
    select: SelectConfig = SelectConfig()
    """Choice of the best checkpoint."""

    @model_validator(mode="after")
    def _check(self) -> "Config":
        if self.data.padding == "batch" and not self.model.hides_padding:
            raise ValueError(
                "data.padding: batch needs model.mask_padding: true, else a prediction depends on "
                "the other samples of its batch; use data.padding: corpus"
            )
        if self.task.classes and (self.select.split, self.task.decision) == ("test", "thresholds"):
            raise ValueError(
                "select.split: test would choose the thresholds of the classes, which validation "
                "alone may; use task.decision: argmax"
            )
        if (self.train.micro_batch or 0) > self.train.batch_size:
            raise ValueError(
                f"train.micro_batch {self.train.micro_batch} exceeds train.batch_size "
                f"{self.train.batch_size}"
            )
        return self
