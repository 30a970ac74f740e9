"""The text encoder: a BERT-type model of Hugging Face, or a tiny one with random weights.

The only importer of transformers among the models.
"""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_MAPPING,
    AttentionInterface,
    AutoConfig,
    BertConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.utils import logging as chatter

from lnln_dist.config import EncoderConfig
from lnln_dist.errors import ConfigError, DataError
from lnln_dist.models.encoder import (
    EncoderSource,
    check_positions,
    check_vocabulary,
    check_weights,
)
from lnln_dist.vocabulary import TOKENIZER_FILES, TokenizerInfo, read_tokenizer

Freeze = Literal["none", "embeddings", "all"]

TINY_DROPOUT = 0.1
_MIXED, _SPARE = "results depend on the padding", "weights are not all used by plain text"
UNFIT = dict.fromkeys(("convbert", "fnet", "mobilebert", "nystromformer", "yoso"), _MIXED) | {
    "longformer": _SPARE,
    "luke": _SPARE,
}
# Its mask is the least float32, which bf16 cannot hold.
FLOAT_ONLY = ("deberta",)
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


def _mask(*given: Any, allow_is_bidirectional_skip: bool = False, **named: Any) -> Tensor | None:
    """As ``sdpa_mask``, but masks of full rows are built too.

    To leave them out it looks whether there are any, for which the host waits for the device in
    every forward pass.
    """
    del allow_is_bidirectional_skip
    found: Tensor | None = sdpa_mask(*given, **named)
    return found


# torch's fused attention behind that mask; a name of our own leaves transformers' as it is.
FUSED = "lnln_sdpa"
AttentionInterface.register(FUSED, sdpa_attention_forward)
AttentionMaskInterface.register(FUSED, _mask)


class TextEncoder(nn.Module):
    """Last hidden state of a BERT-type model.

    Args:
        model: the bare encoder, without a pooler.
        freeze: "embeddings" or "all" stops the gradients of that part. Fully frozen it also
            stays in evaluation mode, so that its features are the same whenever asked for.
        checkpoint_activations: keep only what enters each layer and compute the rest again in
            the backward pass, dropout included: the same numbers for less memory, more time.

    Raises:
        ConfigError: the encoder cannot compute its activations again.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        freeze: Freeze = "none",
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.freeze = freeze
        self.width: int = model.config.hidden_size
        accepted = inspect.signature(model.forward).parameters
        # Some families have no segments, or a table with a single row for them.
        self.takes_segments = (
            "token_type_ids" in accepted and getattr(model.config, "type_vocab_size", 0) > 1
        )
        if freeze == "all":
            model.requires_grad_(False)
            model.eval()
        elif freeze == "embeddings":
            model.get_submodule("embeddings").requires_grad_(False)
        if checkpoint_activations:
            recompute_activations(model)

    @property
    def note(self) -> str:
        """What the user should know about how it computes; empty if there is nothing."""
        if self.model.config._attn_implementation != "eager":
            return ""
        return (
            f"encoder of type {self.model.config.model_type}: transformers has no fused attention "
            "for it, the plain one takes more memory and time"
        )

    def train(self, mode: bool = True) -> "TextEncoder":
        """As ``nn.Module.train``; a fully frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.freeze == "all":
            self.model.eval()
        return self

    def forward(self, ids_BT: Tensor, valid_BT: Tensor, segments_BT: Tensor) -> Tensor:
        """Vectors of the tokens, [B, T, width]; padding is never attended to.

        Args:
            ids_BT: int64 token ids.
            valid_BT: bool, False on padding.
            segments_BT: int64 token type ids, unused by encoders that know none.
        """
        extra = {"token_type_ids": segments_BT} if self.takes_segments else {}
        whole = self.model.config.model_type in FLOAT_ONLY
        kind = ids_BT.device.type
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and self.freeze != "all"),
            torch.autocast(kind, enabled=False) if whole else contextlib.nullcontext(),
        ):
            output = self.model(input_ids=ids_BT, attention_mask=valid_BT.long(), **extra)
        hidden: Tensor = output.last_hidden_state
        return hidden


def build_encoder(
    config: EncoderConfig, *, tokenizer: TokenizerInfo, max_length: int, pretrained: bool = True
) -> TextEncoder:
    """The encoder named by the settings, checked against the data's tokenizer.

    Args:
        config: name, freezing, dropout, sizes of ``tiny``.
        tokenizer: of the prepared data.
        max_length: longest text in tokens.
        pretrained: load its weights; False leaves them random (they come from a checkpoint).

    Raises:
        ConfigError: the encoder cannot be had, is of another kind, lacks weights, or is too
            short for the text.
        DataError: the data's token ids are not the encoder's.
    """
    if config.name == "tiny":
        return TextEncoder(
            _bare_model(_tiny_config(config, tokenizer, max_length)),
            freeze=config.freeze,
            checkpoint_activations=config.checkpoint_activations,
        )
    with _quiet():
        source = EncoderSource.of(config.name)
        model_config = _read_config(source)
        if model_config.model_type in UNFIT:
            raise ConfigError(
                f"model.encoder.name: {config.name} is a {model_config.model_type} model, whose "
                f"{UNFIT[model_config.model_type]}: take BERT, RoBERTa, DeBERTa, MPNet or the like"
            )
        check_vocabulary(
            config.name,
            tokenizer,
            vocabulary=_vocabulary(source),
            size=model_config.vocab_size,
        )
        set_dropout(config, model_config)
        model = _load_weights(source, model_config) if pretrained else _bare_model(model_config)
    check_positions(config.name, limit=_position_limit(model), length=max_length)
    return TextEncoder(
        model, freeze=config.freeze, checkpoint_activations=config.checkpoint_activations
    )


def save_encoder(encoder: TextEncoder, folder: Path, *, tokenizer: Path | None = None) -> None:
    """Writes the encoder's config.json, without weights, and copies the tokenizer's files.

    Args:
        encoder: the encoder of a run.
        folder: made if it does not exist.
        tokenizer: folder to copy tokenizer files from; None copies none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder.model.config.save_pretrained(folder)
    if tokenizer is not None:
        for name in TOKENIZER_FILES:
            if (tokenizer / name).is_file():
                (folder / name).write_bytes((tokenizer / name).read_bytes())


def load_encoder_skeleton(folder: Path, *, freeze: Freeze = "none") -> TextEncoder:
    """The encoder that a folder's config.json describes, its weights random.

    Raises:
        ConfigError: the folder does not exist or has no usable config.json.
    """
    with _quiet():
        model_config = _read_config(EncoderSource.of(str(folder.absolute())))
        return TextEncoder(_bare_model(model_config), freeze=freeze)


def set_dropout(config: EncoderConfig, model_config: PreTrainedConfig) -> None:
    """Writes the dropout that is asked for into an encoder's config; null leaves it alone.

    Raises:
        ConfigError: that kind of encoder has none.
    """
    if config.dropout is None:
        return
    names = [name for name in DROPOUTS if hasattr(model_config, name)]
    if not names:
        raise ConfigError(
            f"model.encoder.dropout: {config.name} has no dropout setting to override: use null"
        )
    for name in names:
        setattr(model_config, name, config.dropout)


def recompute_activations(model: PreTrainedModel) -> None:
    """Makes each layer keep only its input and compute the rest again in the backward pass.

    Raises:
        ConfigError: that kind of encoder cannot do it.
    """
    if not model.supports_gradient_checkpointing:
        raise ConfigError(
            "model.encoder.checkpoint_activations: an encoder of type "
            f"{model.config.model_type} cannot do it: set it to false"
        )
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # a decoder's setting; left on it is warned about
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    # Meant for adapters: it would make a frozen embedding's output ask for gradients.
    model.disable_input_require_grads()


def _tiny_config(config: EncoderConfig, tokenizer: TokenizerInfo, length: int) -> PreTrainedConfig:
    if tokenizer.vocab_size is None:
        raise DataError(
            "model.encoder.name tiny needs the size of the data's vocabulary, which is unknown: "
            "prepare the data again with --tokenizer"
        )
    dropout = TINY_DROPOUT if config.dropout is None else config.dropout
    return BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=config.tiny_width,
        num_hidden_layers=config.tiny_depth,
        num_attention_heads=config.tiny_heads,
        intermediate_size=4 * config.tiny_width,
        max_position_embeddings=length,
        pad_token_id=tokenizer.pad_id,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


def _read_config(source: EncoderSource) -> PreTrainedConfig:
    try:
        config = AutoConfig.from_pretrained(
            source.place, trust_remote_code=False, local_files_only=bool(source.offline)
        )
    except (OSError, ValueError, KeyError) as err:
        if source.folder is not None:
            raise ConfigError(
                f"model.encoder.name: cannot read {source.name}/config.json ({_first_line(err)})"
            ) from err
        raise ConfigError(
            f"model.encoder.name: cannot fetch {source.name!r} "
            f"({source.offline or _first_line(err)}): give a local folder with config.json and "
            "model.safetensors, or tiny"
        ) from err
    if config.is_encoder_decoder or type(config) not in MODEL_MAPPING:
        raise ConfigError(
            f"model.encoder.name: {source.name} is a {config.model_type} model, "
            "not a BERT-type encoder"
        )
    return config


def _model_class(config: PreTrainedConfig) -> tuple[type[PreTrainedModel], dict[str, Any]]:
    kind: Any = MODEL_MAPPING[type(config)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    # The pooler is unused: its parameters would get no gradient, which DDP refuses.
    poolable = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return kind, {"add_pooling_layer": False} if poolable else {}


def _attention(kind: type[PreTrainedModel]) -> str:
    """The fused attention of torch, or the plain one where transformers knows no other."""
    if not kind._supports_sdpa:
        return "eager"
    return FUSED if kind._supports_attention_backend else "sdpa"


def _bare_model(config: PreTrainedConfig) -> PreTrainedModel:
    kind, arguments = _model_class(config)
    config._attn_implementation = _attention(kind)
    return kind(config, **arguments)


def _load_weights(source: EncoderSource, config: PreTrainedConfig) -> PreTrainedModel:
    kind, arguments = _model_class(config)
    try:
        model, report = kind.from_pretrained(
            source.place,
            config=config,
            dtype=torch.float32,
            attn_implementation=_attention(kind),
            weights_only=True,
            trust_remote_code=False,
            local_files_only=bool(source.offline),
            output_loading_info=True,
            **arguments,
        )
    except Exception as err:  # safetensors, torch and pickle raise each their own
        raise ConfigError(
            f"model.encoder.name: cannot load the weights of {source.name} ({_first_line(err)})"
        ) from err
    check_weights(
        source.name,
        prefix=f"{kind.base_model_prefix}.",
        missing=report["missing_keys"],
        unexpected=report["unexpected_keys"],
    )
    loaded: PreTrainedModel = model
    return loaded


def _position_limit(model: PreTrainedModel) -> int | None:
    limit: int | None = getattr(model.config, "max_position_embeddings", None)
    # RoBERTa-type embeddings count positions from behind the padding id.
    padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return limit if limit is None or padding is None else limit - padding - 1


def _vocabulary(source: EncoderSource) -> Mapping[str, int] | None:
    """Of the encoder's own tokenizer, or None if it comes without one.

    Raises:
        ConfigError: its files cannot be read.
    """
    try:
        tokenizer = read_tokenizer(source.name, source.find)
    except DataError as err:
        raise ConfigError(f"model.encoder.name: cannot read the tokenizer: {err}") from err
    return None if tokenizer is None else tokenizer.get_vocab()


def _first_line(err: BaseException) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No load reports or progress bars of transformers meanwhile; what matters is raised."""
    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity(chatter.CRITICAL)
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
