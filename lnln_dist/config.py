"""Every setting of a run: typed, frozen, checked; no torch.

``paper`` values are the defaults. The recipe of the released code is a handful of other
values (``configs/recipes/official.yaml``). Reading, overriding and hashing: ``settings.py``.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from lnln_dist.config_inputs import MODALITIES as MODALITIES
from lnln_dist.config_inputs import STRICT as STRICT
from lnln_dist.config_inputs import Count as Count
from lnln_dist.config_inputs import DataConfig as DataConfig
from lnln_dist.config_inputs import Modality as Modality
from lnln_dist.config_inputs import ModalityNoise as ModalityNoise
from lnln_dist.config_inputs import NoiseConfig as NoiseConfig
from lnln_dist.config_inputs import NoiseMode as NoiseMode
from lnln_dist.config_inputs import NoisePattern as NoisePattern
from lnln_dist.config_inputs import NotNegative as NotNegative
from lnln_dist.config_inputs import Positive as Positive
from lnln_dist.config_inputs import Seed as Seed
from lnln_dist.config_inputs import Share as Share


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
    """LNLN: sizes, and the places where the paper and the released code differ."""

    encoder: EncoderConfig = EncoderConfig()
    """The text encoder."""
    width: Count = 128
    """Model width d."""
    tokens: Count = 8
    """Feature tokens per modality N."""
    heads: Count = 8
    """Attention heads H."""
    head_width: Count = 64
    """Width of one head in every attention but the hyper-modality one (there d / H)."""
    embedding_depth: Count = 2
    """Layers of each modality's embedding."""
    completeness_depth: Count = 2
    """Layers of the completeness check."""
    proxy_depth: Count = 2
    """Layers of the proxy generator."""
    reconstructor_depth: Count = 2
    """Layers of each reconstructor."""
    hyper_depth: Count = 3
    """Hyper-modality layers; the dominant encoder has one layer less."""
    fusion_depth: Count = 4
    """Layers of the fusion (released code: 2 on MOSI)."""
    reversal: Literal["discriminator", "proxy"] = "discriminator"
    """Gradient reversal before the discriminator (paper), or on the proxy before mixing (code)."""
    discriminator_input: Literal["proxy", "corrected"] = "proxy"
    """What the discriminator judges: h_p (paper) or h_d (code)."""
    correction: Literal["predicted", "counted"] = "predicted"
    """Weight of the correction: the completeness check's output, or the true counted share."""
    mask_padding: bool = True
    """Ignore padded places in attention; false attends to them (released code)."""
    detach_target: bool = False
    """Stop gradients through the reconstruction target."""

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide width {self.width}")
        if self.hyper_depth < 2:
            raise ValueError("hyper_depth must be at least 2")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LossConfig:
    """Weights of the four loss terms (no unit)."""

    completeness: NotNegative = 0.9
    """alpha, mean squared error of the predicted completeness."""
    adversarial: NotNegative = 0.8
    """beta, cross entropy of the discriminator."""
    reconstruction: NotNegative = 0.1
    """gamma, mean squared error of the rebuilt embeddings."""
    sentiment: NotNegative = 1.0
    """delta, mean squared error of the sentiment."""


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

    @model_validator(mode="after")
    def _check(self) -> "OptimConfig":
        if self.schedule == "official" and self.warmup_share != 0.1:
            raise ValueError("warmup_share is fixed at 0.1 by schedule official: drop it")
        return self


StrategyName = Literal["ddp", "zero1", "zero2", "zero3", "fsdp2"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig:
    """Length, batch, precision and checkpoints of a run."""

    seed: Seed = 1111
    """Seed of weights, order, noise and dropout."""
    epochs: Count = 200
    """Passes over the training split."""
    batch_size: Count = 64
    """Samples per optimizer step over all processes."""
    micro_batch: Count | None = None
    """Samples per forward pass and process; null: one pass. Gradients accumulate over the rest."""
    auto_micro_batch: bool = False
    """Find the largest micro-batch that fits the memory; the global batch stays the same."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass; fp16 needs a GPU."""
    strategy: Literal["auto", StrategyName] = "auto"
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """A run of lnln_dist."""

    recipe: Literal["paper", "official", "custom"] = "paper"
    """Protocol that reports name; settings that contradict it are refused. custom promises none."""
    data: DataConfig = DataConfig()
    """Shards and loading."""
    noise: NoiseConfig = NoiseConfig()
    """Training noise."""
    model: ModelConfig = ModelConfig()
    """Network."""
    loss: LossConfig = LossConfig()
    """Loss weights."""
    optim: OptimConfig = OptimConfig()
    """Optimizer."""
    train: TrainConfig = TrainConfig()
    """Training."""
    select: SelectConfig = SelectConfig()
    """Choice of the best checkpoint."""

    @model_validator(mode="after")
    def _check(self) -> "Config":
        if self.data.padding == "batch" and not self.model.mask_padding:
            raise ValueError(
                "data.padding: batch needs model.mask_padding: true, else a prediction depends on "
                "the other samples of its batch; use data.padding: corpus"
            )
        if (self.train.micro_batch or 0) > self.train.batch_size:
            raise ValueError(
                f"train.micro_batch {self.train.micro_batch} exceeds train.batch_size "
                f"{self.train.batch_size}"
            )
        return self
